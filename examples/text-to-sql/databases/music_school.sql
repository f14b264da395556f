CREATE TABLE instruments (id INTEGER PRIMARY KEY, name TEXT, family TEXT, monthly_rent INTEGER, age INTEGER, borrower TEXT);
INSERT INTO instruments VALUES
(1, 'Cello', 'strings', 97, 57, 'Daniel Brown'),
(2, 'Saxophone', 'percussion', 98, 34, 'Priya Sharma'),
(3, 'Tuba', 'brass', 26, 26, NULL),
(4, 'Viola', 'strings', 42, 31, NULL),
(5, 'Clarinet', 'percussion', 60, 22, 'Tomas Khan'),
(6, 'Violin', 'woodwind', 108, 14, 'Lucas Silva'),
(7, 'Flute', 'woodwind', 140, 45, 'Zoe Silva'),
(8, 'Banjo', 'woodwind', 99, 17, NULL),
(9, 'Trumpet', 'brass', 22, 6, 'Lucas Rossi'),
(10, 'Harp', 'percussion', 133, 24, 'Nadia Quinn'),
(11, 'Guitar', 'woodwind', 78, 47, 'Rosa Ortega'),
(12, 'Grand Piano', 'strings', 14, 51, NULL),
(13, 'Snare Drum', 'strings', 66, 49, 'Maria Lopez'),
(14, 'Oboe', 'brass', 82, 16, 'Noah Sharma');
