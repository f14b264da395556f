CREATE TABLE fields (id INTEGER PRIMARY KEY, name TEXT, acres INTEGER, soil TEXT);
INSERT INTO fields VALUES
(1, 'Stone Field', 43, 'sand'),
(2, 'Lower Ten', 10, 'clay'),
(3, 'Hill Field', 85, 'clay'),
(4, 'Barn Field', 40, 'loam'),
(5, 'Oak Field', 47, 'sand'),
(6, 'Long Acre', 74, 'clay'),
(7, 'River Field', 30, 'sand'),
(8, 'Mill Field', 83, 'sand'),
(9, 'Fox Field', 15, 'loam'),
(10, 'South Meadow', 14, 'clay');

CREATE TABLE harvests (id INTEGER PRIMARY KEY, batch TEXT, field_id INTEGER REFERENCES fields(id), crop TEXT, tons INTEGER, cut_on TEXT);
INSERT INTO harvests VALUES
(1, 'H38', 7, 'barley', 55, '2021-01-12'),
(2, 'H83', 5, 'rye', 158, '2022-12-07'),
(3, 'H86', 6, 'wheat', 118, '2022-02-23'),
(4, 'H92', 6, 'barley', 148, '2021-02-14'),
(5, 'H77', 6, 'barley', 36, '2021-08-29'),
(6, 'H14', 8, 'maize', 38, '2022-10-04'),
(7, 'H56', 6, 'barley', 50, '2022-06-15'),
(8, 'H20', 2, 'wheat', 121, '2023-01-24'),
(9, 'H95', 7, 'maize', 144, '2021-12-31'),
(10, 'H35', 8, 'barley', 142, '2022-12-11'),
(11, 'H44', 6, 'maize', 124, '2021-10-05'),
(12, 'H23', 3, 'maize', 74, '2023-12-08'),
(13, 'H98', 5, 'wheat', 123, '2021-11-28'),
(14, 'H50', 6, 'maize', 104, '2020-08-22'),
(15, 'H62', 6, 'rye', 149, '2021-07-04'),
(16, 'H89', 2, 'rye', 49, '2022-08-09'),
(17, 'H41', 2, 'barley', 145, '2020-02-06'),
(18, 'H71', 7, 'rye', 61, '2022-11-11');
