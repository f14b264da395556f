CREATE TABLE greenhouses (id INTEGER PRIMARY KEY, name TEXT, temperature INTEGER, climate TEXT);
INSERT INTO greenhouses VALUES
(1, 'Palm House', 8, 'dry'),
(2, 'Tropical Dome', 24, 'tropical'),
(3, 'Cactus House', 22, 'alpine'),
(4, 'Water Garden', 34, 'dry'),
(5, 'Fern Room', 23, 'alpine'),
(6, 'Alpine House', 9, 'alpine'),
(7, 'Desert Room', 11, 'dry'),
(8, 'Orchid Hall', 14, 'dry'),
(9, 'Citrus House', 28, 'tropical'),
(10, 'Moss Room', 31, 'dry');

CREATE TABLE plants (id INTEGER PRIMARY KEY, name TEXT, greenhouse_id INTEGER REFERENCES greenhouses(id), height INTEGER, continent TEXT, planted TEXT);
INSERT INTO plants VALUES
(1, 'Banana', 2, 167, 'Europe', '2016-07-01'),
(2, 'Vanilla', 2, 217, 'Africa', '2020-01-31'),
(3, 'Sago Palm', 9, 452, 'Africa', '2021-10-27'),
(4, 'Lemon Tree', 6, 733, 'Asia', '2014-09-23'),
(5, 'Agave', 7, 404, 'Asia', '2017-10-01'),
(6, 'Golden Barrel', 9, 82, 'Europe', '2013-06-13'),
(7, 'Giant Lily', 1, 466, 'America', '2021-07-31'),
(8, 'Moth Orchid', 6, 398, 'America', '2016-12-25'),
(9, 'Edelweiss', 7, 486, 'Asia', '2015-11-03'),
(10, 'Peat Moss', 7, 168, 'Europe', '2013-12-05'),
(11, 'Venus Trap', 5, 846, 'Europe', '2022-10-01'),
(12, 'Jade Plant', 7, 473, 'Europe', '2017-03-15'),
(13, 'Lotus', 9, 475, 'Asia', '2018-05-18'),
(14, 'Aloe', 7, 249, 'America', '2016-11-20'),
(15, 'Rubber Tree', 6, 456, 'Africa', '2022-09-23'),
(16, 'Tree Fern', 9, 679, 'Europe', '2015-10-13');
