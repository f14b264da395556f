CREATE TABLE national_parks (id INTEGER PRIMARY KEY, name TEXT, country TEXT, entry_fee INTEGER);
INSERT INTO national_parks VALUES
(1, 'Eagle Canyon', 'Kenya', 40),
(2, 'Red Dunes', 'Spain', 12),
(3, 'Cloud Forest', 'Chile', 21),
(4, 'Fern Gorge', 'Kenya', 25),
(5, 'Bear Valley', 'Chile', 16),
(6, 'Ice Fields', 'Kenya', 34),
(7, 'Grey Peaks', 'Japan', 31),
(8, 'Silver Lakes', 'Chile', 9),
(9, 'Lava Plains', 'Japan', 38),
(10, 'Fjord Coast', 'Japan', 5);

CREATE TABLE trails (id INTEGER PRIMARY KEY, name TEXT, park_id INTEGER REFERENCES national_parks(id), length REAL, climb INTEGER, difficulty TEXT);
INSERT INTO trails VALUES
(1, 'Pine Walk', 7, 19.5, 950, 'moderate'),
(2, 'Lake Circuit', 5, 33, 770, 'moderate'),
(3, 'Hermit Path', 7, 24.5, 140, 'moderate'),
(4, 'Shepherd Route', 5, 27.5, 700, 'moderate'),
(5, 'Old Mine Track', 7, 10.5, 760, 'easy'),
(6, 'Ridge Loop', 6, 7.5, 620, 'hard'),
(7, 'Crater Walk', 6, 30, 730, 'easy'),
(8, 'Glacier View', 3, 11.5, 580, 'easy'),
(9, 'Goat Trail', 5, 30.5, 1220, 'moderate'),
(10, 'Canyon Rim', 6, 12.5, 30, 'hard'),
(11, 'Sunset Point', 7, 4, 1250, 'easy'),
(12, 'Summit Way', 5, 40, 460, 'hard'),
(13, 'Meadow Link', 10, 3, 440, 'moderate'),
(14, 'Falls Path', 6, 15.5, 1460, 'hard'),
(15, 'Bog Boardwalk', 10, 8, 1410, 'moderate'),
(16, 'Fox Path', 6, 38, 1000, 'easy');
