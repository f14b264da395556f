CREATE TABLE pet_owners (id INTEGER PRIMARY KEY, name TEXT, street TEXT, mobile TEXT);
INSERT INTO pet_owners VALUES
(1, 'Tomas Kovacs', 'Elm Street', '555-6638'),
(2, 'Victor Ortega', 'Elm Street', '555-1973'),
(3, 'Sofia Rossi', 'Mill Lane', '555-3528'),
(4, 'Aisha Kovacs', 'King Street', '555-2595'),
(5, 'Ivan Moreau', 'King Street', '555-2906'),
(6, 'Greta Hassan', 'Harbour Road', NULL),
(7, 'Zoe Walsh', 'Harbour Road', '555-8193'),
(8, 'Omar Petrova', 'Harbour Road', NULL),
(9, 'Lena Fischer', 'Mill Lane', NULL),
(10, 'Ingrid Berg', 'Harbour Road', '555-8815'),
(11, 'David Okafor', 'Harbour Road', NULL),
(12, 'Noah Sharma', 'Mill Lane', '555-0418');

CREATE TABLE pets (id INTEGER PRIMARY KEY, pet_name TEXT, owner_id INTEGER REFERENCES pet_owners(id), animal_type TEXT, visits INTEGER, vaccinated_on TEXT);
INSERT INTO pets VALUES
(1, 'Pebbles', 11, 'hamster', 1, '2023-09-01'),
(2, 'Tiger', 4, 'hamster', 6, '2021-11-10'),
(3, 'Snowball', 4, 'cat', 16, NULL),
(4, 'Mango', 8, 'cat', 9, '2024-03-05'),
(5, 'Whiskers', 4, 'dog', 19, '2022-04-17'),
(6, 'Biscuit', 4, 'rabbit', 10, NULL),
(7, 'Smokey', 4, 'dog', 13, '2023-07-19'),
(8, 'Shadow', 8, 'dog', 7, '2024-03-17'),
(9, 'Pepper', 4, 'hamster', 16, '2024-08-06'),
(10, 'Oreo', 9, 'cat', 2, '2024-12-15'),
(11, 'Fluffy', 8, 'dog', 23, '2021-05-31'),
(12, 'Cookie', 11, 'dog', 3, '2023-02-27'),
(13, 'Pumpkin', 4, 'cat', 19, '2021-09-05'),
(14, 'Peanut', 4, 'rabbit', 26, '2021-01-31'),
(15, 'Ginger', 4, 'dog', 13, '2022-03-26'),
(16, 'Waffle', 10, 'cat', 16, '2023-12-29');
