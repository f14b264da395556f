CREATE TABLE trains (id INTEGER PRIMARY KEY, name TEXT, service TEXT, top_speed INTEGER, coaches INTEGER, built INTEGER);
INSERT INTO trains VALUES
(1, 'Iron Duke', 'express', 285, 4, 1983),
(2, 'Coast Liner', 'regional', 275, 2, 2008),
(3, 'Green Flash', 'express', 250, 8, 2003),
(4, 'Blue Danube', 'regional', 230, 3, 1975),
(5, 'Alpine Star', 'express', 100, 10, 2007),
(6, 'Silver Bullet', 'regional', 125, 11, 1985),
(7, 'Night Arrow', 'night', 290, 10, 2016),
(8, 'Royal Mail', 'night', 325, 3, 1997),
(9, 'Lake Express', 'express', 155, 7, 2020),
(10, 'Valley Hopper', 'regional', 300, 11, 1978),
(11, 'Fox', 'regional', 185, 8, 1982),
(12, 'Desert Queen', 'night', 165, 15, 2012),
(13, 'City Sprinter', 'express', 160, 8, 1996),
(14, 'Red Comet', 'night', 240, 6, 2014);
