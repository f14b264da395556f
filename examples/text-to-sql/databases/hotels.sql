CREATE TABLE hotels (hotel_id INTEGER PRIMARY KEY, name TEXT, city TEXT, stars INTEGER);
INSERT INTO hotels VALUES
(1, 'Grand Plaza', 'Vienna', 2),
(2, 'Mountain Inn', 'Toronto', 2),
(3, 'Snow Peak', 'Oslo', 4),
(4, 'Palm Court', 'Vienna', 2),
(5, 'Sea Breeze', 'Lima', 4),
(6, 'The Linden', 'Lisbon', 3),
(7, 'Royal Garden', 'Lima', 4),
(8, 'City Lodge', 'Toronto', 3),
(9, 'Harbour View', 'Lima', 4),
(10, 'Old Mill Inn', 'Lima', 3);

CREATE TABLE guests (guest_id INTEGER PRIMARY KEY, name TEXT, hotel_id INTEGER REFERENCES hotels(hotel_id), nights INTEGER, bill INTEGER, arrived TEXT);
INSERT INTO guests VALUES
(1, 'Samuel Cohen', 6, 5, 2320, '2023-09-21'),
(2, 'Amara Okafor', 4, 12, 2900, '2023-05-30'),
(3, 'Priya Adler', 4, 10, 1820, '2023-01-14'),
(4, 'Sofia Cohen', 6, 1, 630, '2024-06-15'),
(5, 'Lucas Rossi', 10, 7, 340, '2023-10-19'),
(6, 'Oscar Quinn', 4, 3, 1760, '2023-12-29'),
(7, 'Noah Sharma', 5, 11, 620, '2024-04-22'),
(8, 'Kenji Tanaka', 2, 11, 2600, '2023-08-02'),
(9, 'Victor Ortega', 6, 10, 2650, '2023-01-03'),
(10, 'Peter Sato', 7, 4, 670, '2024-05-25'),
(11, 'Zoe Walsh', 4, 8, 1330, '2024-05-14'),
(12, 'Greta Hassan', 5, 9, 530, '2024-07-23'),
(13, 'Felix Dubois', 4, 7, 2270, '2024-08-23'),
(14, 'Ingrid Jansen', 5, 3, 990, '2023-12-21'),
(15, 'Tomas Khan', 5, 12, 2310, '2023-05-20'),
(16, 'Clara Santos', 6, 9, 1290, '2023-04-12'),
(17, 'Amara Brown', 6, 2, 1140, '2023-12-25'),
(18, 'Nadia Petrova', 5, 14, 270, '2023-04-27');
