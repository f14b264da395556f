CREATE TABLE campsites (id INTEGER PRIMARY KEY, name TEXT, terrain TEXT, pitches INTEGER, nightly_rate INTEGER, pool TEXT);
INSERT INTO campsites VALUES
(1, 'Old Oak', 'beach', 265, 21, 'indoor'),
(2, 'Pine Camp', 'forest', 70, 50, 'indoor'),
(3, 'Lakeside', 'mountain', 275, 20, 'indoor'),
(4, 'Sunrise Hill', 'beach', 25, 24, 'indoor'),
(5, 'Eagle Rock', 'mountain', 20, 47, NULL),
(6, 'Sandy Bay', 'mountain', 300, 55, 'indoor'),
(7, 'Green Valley', 'beach', 30, 17, NULL),
(8, 'Bear Creek', 'beach', 230, 27, 'outdoor'),
(9, 'Silver Beach', 'forest', 150, 49, 'indoor'),
(10, 'Cliff Top', 'beach', 65, 33, 'outdoor'),
(11, 'Moon Field', 'beach', 140, 16, NULL),
(12, 'Blue Lagoon', 'forest', 155, 46, 'indoor'),
(13, 'Fern Dale', 'mountain', 270, 36, 'outdoor'),
(14, 'Wild River', 'forest', 195, 45, NULL);
