CREATE TABLE excavations (id INTEGER PRIMARY KEY, name TEXT, desert TEXT, dig_depth INTEGER);
INSERT INTO excavations VALUES
(1, 'Clay Bank', 'Gobi', 45),
(2, 'Fern Bed', 'Mojave', 51),
(3, 'Lost Canyon', 'Mojave', 46),
(4, 'Amber Cliff', 'Mojave', 60),
(5, 'Slate Quarry', 'Karoo', 26),
(6, 'Dry Creek', 'Gobi', 10),
(7, 'White Badlands', 'Karoo', 22),
(8, 'Chalk Pit', 'Gobi', 3),
(9, 'Red Gulch', 'Gobi', 58),
(10, 'Bone Hill', 'Gobi', 52);

CREATE TABLE fossils (id INTEGER PRIMARY KEY, specimen TEXT, excavation_id INTEGER REFERENCES excavations(id), era TEXT, bones INTEGER, unearthed TEXT);
INSERT INTO fossils VALUES
(1, 'Glider', 6, 'Jurassic', 51, '2022-03-21'),
(2, 'Razor', 9, 'Jurassic', 59, '2021-01-03'),
(3, 'Tiny', 3, 'Jurassic', 39, '2010-07-14'),
(4, 'Egg Nine', 2, 'Jurassic', 101, '2010-06-07'),
(5, 'Big Claw', 3, 'Cretaceous', 164, '2018-12-07'),
(6, 'Stripe', 3, 'Cretaceous', 206, '2021-12-23'),
(7, 'Plate Six', 2, 'Jurassic', 234, '2023-08-16'),
(8, 'Crest', 9, 'Jurassic', 22, '2010-11-19'),
(9, 'Old Tooth', 2, 'Triassic', 90, '2015-07-27'),
(10, 'Ghost', 6, 'Triassic', 47, '2015-11-06'),
(11, 'Spike', 2, 'Cretaceous', 196, '2010-10-05'),
(12, 'Nessie', 4, 'Jurassic', 129, '2015-03-04'),
(13, 'Horn Two', 4, 'Jurassic', 5, '2019-04-23'),
(14, 'Shellback', 2, 'Jurassic', 9, '2013-03-08'),
(15, 'Longneck', 6, 'Triassic', 14, '2010-09-14'),
(16, 'Ridgeback', 2, 'Triassic', 238, '2013-04-12');
