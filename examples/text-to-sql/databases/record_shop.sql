CREATE TABLE bands (id INTEGER PRIMARY KEY, name TEXT, city TEXT, formed INTEGER);
INSERT INTO bands VALUES
(1, 'Copper Sky', 'Lima', 1977),
(2, 'Cold Embers', 'Vienna', 1979),
(3, 'Riverhead', 'Lisbon', 2008),
(4, 'The Velvet Foxes', 'Toronto', 2004),
(5, 'Solar Drift', 'Vienna', 2001),
(6, 'The Hummingbirds', 'Oslo', 2000),
(7, 'Iron Lake', 'Oslo', 2006),
(8, 'Night Trains', 'Lisbon', 2015),
(9, 'Paper Tigers', 'Lima', 1996),
(10, 'The Postmen', 'Lima', 2009),
(11, 'Loud Ocean', 'Oslo', 2012),
(12, 'Silver Moths', 'Vienna', 1981);

CREATE TABLE albums (id INTEGER PRIMARY KEY, title TEXT, band_id INTEGER REFERENCES bands(id), style TEXT, tracks INTEGER, price REAL);
INSERT INTO albums VALUES
(1, 'Long Division', 1, 'Rock', 8, 33.5),
(2, 'Undertow', 5, 'Jazz', 9, 22.5),
(3, 'Harbor Songs', 10, 'Electronic', 11, 31),
(4, 'Slow Motion', 5, 'Rock', 20, 39.5),
(5, 'The Attic Tapes', 10, 'Folk', 10, 19.5),
(6, 'Neon Rain', 7, 'Electronic', 20, 19),
(7, 'Golden Hour', 3, 'Rock', 15, 34.5),
(8, 'Kites', 12, 'Electronic', 11, 11),
(9, 'Echo Park', 11, 'Electronic', 21, 23.5),
(10, 'Blue Static', 1, 'Jazz', 14, 26),
(11, 'Open Roads', 11, 'Jazz', 19, 30),
(12, 'Parallel', 12, 'Jazz', 21, 32),
(13, 'Homecoming', 1, 'Folk', 20, 10.5),
(14, 'Static Dreams', 12, 'Jazz', 8, 18),
(15, 'Afterglow', 12, 'Electronic', 17, 12.5),
(16, 'Northern Lines', 5, 'Rock', 15, 16),
(17, 'First Light', 12, 'Folk', 10, 30.5),
(18, 'Wildfire', 1, 'Electronic', 9, 24);
