CREATE TABLE stages (id INTEGER PRIMARY KEY, name TEXT, capacity INTEGER, sponsor TEXT);
INSERT INTO stages VALUES
(1, 'Silent Disco', 300, NULL),
(2, 'Barn', 18400, 'Radio Nine'),
(3, 'Lake Stage', 16100, 'Fizz Cola'),
(4, 'Sunset Dome', 21000, 'Radio Nine'),
(5, 'Circus Tent', 22200, 'Fizz Cola'),
(6, 'Hill Stage', 15100, NULL),
(7, 'Main Stage', 18500, 'City Bank'),
(8, 'Forest Stage', 6500, 'Radio Nine'),
(9, 'Acoustic Corner', 9400, 'Radio Nine'),
(10, 'Beach Tent', 23100, 'Radio Nine');

CREATE TABLE concerts (id INTEGER PRIMARY KEY, artist TEXT, stage_id INTEGER REFERENCES stages(id), weekday TEXT, ticket_price INTEGER, attendance INTEGER);
INSERT INTO concerts VALUES
(1, 'Victor Lopez', 2, 'Saturday', 25, 19750),
(2, 'Noah Adler', 8, 'Saturday', 25, 19100),
(3, 'Clara Miller', 8, 'Saturday', 15, 16700),
(4, 'Ingrid Berg', 8, 'Sunday', 15, 5800),
(5, 'Leila Dubois', 4, 'Saturday', 40, 500),
(6, 'Hugo Fischer', 8, 'Friday', 105, 2800),
(7, 'Peter Larsen', 8, 'Friday', 80, 7750),
(8, 'Elena Moreau', 4, 'Friday', 115, 17100),
(9, 'Maria Lopez', 2, 'Friday', 110, 1600),
(10, 'Priya Sharma', 4, 'Saturday', 90, 15050),
(11, 'Tomas Kovacs', 8, 'Saturday', 85, 15000),
(12, 'Hana Larsen', 8, 'Sunday', 80, 6300),
(13, 'Greta Hassan', 1, 'Friday', 50, 7300),
(14, 'Rosa Marin', 7, 'Sunday', 105, 20650),
(15, 'Daniel Santos', 8, 'Sunday', 75, 21600),
(16, 'Nadia Quinn', 2, 'Saturday', 110, 4650),
(17, 'Felix Dubois', 4, 'Friday', 55, 24250),
(18, 'Hana Sato', 7, 'Sunday', 20, 10200);
