CREATE TABLE wind_farms (id INTEGER PRIMARY KEY, name TEXT, county TEXT, grid_distance INTEGER);
INSERT INTO wind_farms VALUES
(1, 'Long Dune', 'Clare', 26),
(2, 'Windy Ridge', 'Clare', 36),
(3, 'Open Fen', 'Mayo', 38),
(4, 'Salt Marsh', 'Kerry', 30),
(5, 'Cliff Edge', 'Clare', 42),
(6, 'High Moor', 'Kerry', 25),
(7, 'Storm Flats', 'Mayo', 49),
(8, 'Breeze Hill', 'Kerry', 7),
(9, 'Bare Top', 'Kerry', 24),
(10, 'Gale Coast', 'Clare', 53);

CREATE TABLE turbines (id INTEGER PRIMARY KEY, serial TEXT, wind_farm_id INTEGER REFERENCES wind_farms(id), blade_length INTEGER, output INTEGER, inspected TEXT);
INSERT INTO turbines VALUES
(1, 'T-658', 10, 54, 4450, '2023-12-08'),
(2, 'T-813', 2, 68, 2150, '2021-03-09'),
(3, 'T-596', 4, 80, 2950, '2024-11-09'),
(4, 'T-627', 2, 70, 500, '2022-08-19'),
(5, 'T-565', 2, 44, 3450, '2022-11-05'),
(6, 'T-534', 9, 82, 4300, '2024-12-04'),
(7, 'T-844', 7, 35, 3350, '2023-06-30'),
(8, 'T-751', 9, 31, 2050, '2021-06-24'),
(9, 'T-906', 2, 41, 3100, '2023-05-11'),
(10, 'T-441', 5, 33, 850, '2021-11-21'),
(11, 'T-937', 2, 28, 3250, NULL),
(12, 'T-968', 2, 62, 1300, '2023-09-12'),
(13, 'T-472', 2, 58, 2000, '2022-01-12'),
(14, 'T-410', 2, 71, 1350, '2022-12-27'),
(15, 'T-689', 2, 25, 1100, NULL),
(16, 'T-720', 2, 60, 3500, '2024-11-07'),
(17, 'T-875', 2, 76, 4500, '2023-04-20'),
(18, 'T-503', 6, 47, 4350, NULL);
