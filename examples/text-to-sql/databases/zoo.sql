CREATE TABLE enclosures (id INTEGER PRIMARY KEY, name TEXT, area INTEGER, keeper TEXT);
INSERT INTO enclosures VALUES
(1, 'Wetlands', 7900, NULL),
(2, 'Polar World', 8700, 'Clara Miller'),
(3, 'Bird House', 1500, 'Maria Tanaka'),
(4, 'Elephant Park', 6400, NULL),
(5, 'Savanna', 2500, 'Leila Haddad'),
(6, 'Petting Yard', 8000, NULL),
(7, 'Monkey Island', 4100, 'Emil Jansen'),
(8, 'Night House', 5300, 'Kenji Tanaka'),
(9, 'Reptile House', 3600, 'Felix Berg'),
(10, 'Big Cats', 2800, 'Aisha Kovacs');

CREATE TABLE animals (id INTEGER PRIMARY KEY, name TEXT, enclosure_id INTEGER REFERENCES enclosures(id), kind TEXT, weight INTEGER, born_in INTEGER);
INSERT INTO animals VALUES
(1, 'Coco', 6, 'parrot', 874, 2019),
(2, 'Tara', 10, 'lion', 730, 2017),
(3, 'Pico', 3, 'seal', 159, 2011),
(4, 'Daisy', 8, 'bear', 650, 2019),
(5, 'Bongo', 10, 'lion', 441, 1999),
(6, 'Juno', 3, 'bear', 734, 2010),
(7, 'Suki', 1, 'bear', 860, 2018),
(8, 'Mira', 6, 'monkey', 654, 2003),
(9, 'Otto', 10, 'monkey', 494, 2004),
(10, 'Luna', 1, 'parrot', 737, 2007),
(11, 'Rex', 10, 'seal', 134, 2001),
(12, 'Simba', 3, 'lion', 237, 2014),
(13, 'Kiki', 8, 'lion', 512, 2015),
(14, 'Zara', 4, 'lion', 639, 2005),
(15, 'Nala', 3, 'monkey', 571, 2014),
(16, 'Momo', 8, 'seal', 804, 2019),
(17, 'Leo', 3, 'bear', 155, 2021),
(18, 'Bruno', 10, 'bear', 714, 2007);
