CREATE TABLE parties (id INTEGER PRIMARY KEY, name TEXT, position TEXT, members INTEGER);
INSERT INTO parties VALUES
(1, 'People First', 'left', 46900),
(2, 'Green Future', 'left', 17400),
(3, 'Unity', 'left', 74800),
(4, 'Reform Now', 'centre', 13100),
(5, 'Pirate Wave', 'right', 54100),
(6, 'Liberal Bloc', 'centre', 74900),
(7, 'Farmers League', 'centre', 1900),
(8, 'New Centre', 'left', 60800),
(9, 'Civic Union', 'right', 70900),
(10, 'Workers Front', 'centre', 75100);

CREATE TABLE candidates (id INTEGER PRIMARY KEY, name TEXT, party_id INTEGER REFERENCES parties(id), votes INTEGER, age INTEGER, constituency TEXT);
INSERT INTO candidates VALUES
(1, 'Noah Adler', 9, 6600, 24, 'Lake County'),
(2, 'Omar Petrova', 5, 29400, 31, 'North City'),
(3, 'Zoe Silva', 9, 3300, 70, 'Lake County'),
(4, 'Hugo Fischer', 9, 33300, 40, 'North City'),
(5, 'Lucas Rossi', 9, 14600, 27, 'Highlands'),
(6, 'Omar Hassan', 9, 6000, 29, 'Highlands'),
(7, 'Samuel Walsh', 3, 59900, 61, 'Highlands'),
(8, 'Kenji Marin', 3, 53900, 66, 'Lake County'),
(9, 'Lena Fischer', 7, 19800, 63, 'Highlands'),
(10, 'Maria Tanaka', 5, 23800, 68, 'Lake County'),
(11, 'Tomas Khan', 3, 1200, 78, 'North City'),
(12, 'Priya Adler', 9, 4100, 38, 'South Coast'),
(13, 'Daniel Brown', 9, 21900, 25, 'South Coast'),
(14, 'Ingrid Jansen', 3, 19700, 39, 'Highlands'),
(15, 'Hana Larsen', 1, 59500, 43, 'North City'),
(16, 'Felix Berg', 9, 57100, 47, 'South Coast'),
(17, 'Ingrid Berg', 3, 54700, 69, 'South Coast'),
(18, 'Victor Lopez', 3, 55100, 53, 'North City');
