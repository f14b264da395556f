CREATE TABLE beekeepers (id INTEGER PRIMARY KEY, name TEXT, valley TEXT, years_active INTEGER);
INSERT INTO beekeepers VALUES
(1, 'Hana Sato', 'Aosta', 38),
(2, 'Noah Adler', 'Loire', 18),
(3, 'Sofia Rossi', 'Soca', 34),
(4, 'Kenji Marin', 'Soca', 35),
(5, 'Elena Weber', 'Aosta', 42),
(6, 'Elena Moreau', 'Loire', 3),
(7, 'Peter Larsen', 'Rhone', 26),
(8, 'Zoe Silva', 'Aosta', 1),
(9, 'Amara Brown', 'Aosta', 22),
(10, 'Daniel Santos', 'Soca', 31),
(11, 'Clara Miller', 'Rhone', 29),
(12, 'Priya Sharma', 'Aosta', 39);

CREATE TABLE hives (id INTEGER PRIMARY KEY, hive_code TEXT, beekeeper_id INTEGER REFERENCES beekeepers(id), bee_race TEXT, honey_yield INTEGER, frames INTEGER);
INSERT INTO hives VALUES
(1, 'Z24', 5, 'Carniolan', 4, 15),
(2, 'Z48', 3, 'Carniolan', 54, 20),
(3, 'Z44', 8, 'Carniolan', 48, 8),
(4, 'Z64', 10, 'Buckfast', 41, 8),
(5, 'Z40', 9, 'Buckfast', 52, 23),
(6, 'Z36', 11, 'Carniolan', 8, 7),
(7, 'Z12', 3, 'Buckfast', 25, 14),
(8, 'Z80', 11, 'Carniolan', 16, 9),
(9, 'Z52', 10, 'Carniolan', 53, 11),
(10, 'Z76', 10, 'Buckfast', 62, 24),
(11, 'Z32', 3, 'Carniolan', 26, 16),
(12, 'Z60', 9, 'Carniolan', 11, 11),
(13, 'Z56', 9, 'Italian', 9, 9),
(14, 'Z92', 9, 'Carniolan', 12, 19),
(15, 'Z84', 7, 'Carniolan', 10, 17),
(16, 'Z20', 9, 'Buckfast', 39, 19),
(17, 'Z68', 4, 'Buckfast', 42, 16),
(18, 'Z88', 5, 'Buckfast', 61, 13);
