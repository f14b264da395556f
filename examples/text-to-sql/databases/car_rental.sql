CREATE TABLE drivers (id INTEGER PRIMARY KEY, name TEXT, licence_class TEXT, age INTEGER);
INSERT INTO drivers VALUES
(1, 'Zoe Silva', 'D', 45),
(2, 'David Okafor', 'C', 49),
(3, 'Amara Okafor', 'B', 44),
(4, 'Rosa Marin', 'C', 32),
(5, 'Rosa Ortega', 'B', 55),
(6, 'Felix Dubois', 'C', 39),
(7, 'Noah Adler', 'B', 60),
(8, 'Zoe Walsh', 'B', 42),
(9, 'Hana Sato', 'B', 35),
(10, 'Kenji Tanaka', 'C', 75),
(11, 'Emil Haddad', 'C', 21),
(12, 'Lucas Rossi', 'D', 41);

CREATE TABLE rentals (id INTEGER PRIMARY KEY, contract_number TEXT, driver_id INTEGER REFERENCES drivers(id), car_class TEXT, days INTEGER, returned_on TEXT);
INSERT INTO rentals VALUES
(1, 'C6528', 10, 'family', 15, '2023-04-20'),
(2, 'C7883', 10, 'small', 8, '2024-04-27'),
(3, 'C7341', 12, 'family', 20, '2023-10-12'),
(4, 'C5173', 3, 'small', 3, '2024-07-04'),
(5, 'C3005', 10, 'small', 10, '2024-02-05'),
(6, 'C4902', 5, 'family', 12, NULL),
(7, 'C4089', 12, 'luxury', 9, '2023-01-06'),
(8, 'C8425', 10, 'luxury', 4, '2023-12-23'),
(9, 'C6799', 6, 'luxury', 10, '2024-12-01'),
(10, 'C7070', 12, 'family', 1, NULL),
(11, 'C4360', 3, 'family', 1, '2024-08-22'),
(12, 'C9780', 3, 'family', 4, '2024-08-27'),
(13, 'C3276', 10, 'small', 7, '2023-08-20'),
(14, 'C8967', 4, 'family', 18, '2023-01-21'),
(15, 'C7612', 3, 'small', 15, '2023-04-08'),
(16, 'C3547', 5, 'family', 1, '2023-04-30'),
(17, 'C5444', 2, 'luxury', 2, NULL),
(18, 'C8696', 12, 'family', 15, '2023-07-29');
