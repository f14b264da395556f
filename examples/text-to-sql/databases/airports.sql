CREATE TABLE airports (id INTEGER PRIMARY KEY, name TEXT, country TEXT, runways INTEGER, elevation INTEGER, passengers INTEGER);
INSERT INTO airports VALUES
(1, 'Toronto Municipal', 'Kenya', 1, 1162, 76),
(2, 'Dublin International', 'Chile', 3, 170, 64),
(3, 'Lima Municipal', 'Spain', 6, 503, 14),
(4, 'Dublin Municipal', 'Spain', 3, 1614, 36),
(5, 'Lima International', 'Japan', 6, 739, 5),
(6, 'Austin International', 'Chile', 1, 271, 56),
(7, 'Prague Municipal', 'Norway', 3, 1140, 18),
(8, 'Oslo International', 'Chile', 6, 86, 79),
(9, 'Osaka Municipal', 'Japan', 2, 636, 9),
(10, 'Porto International', 'Canada', 4, 823, 39),
(11, 'Lisbon Municipal', 'Japan', 2, 1747, 82),
(12, 'Vienna International', 'Spain', 1, 11, 77),
(13, 'Prague International', 'Spain', 1, 731, 35),
(14, 'Oslo Municipal', 'Japan', 3, 550, 68);
