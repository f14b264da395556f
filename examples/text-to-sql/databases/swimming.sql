CREATE TABLE swimmers (id INTEGER PRIMARY KEY, name TEXT, stroke TEXT, country TEXT, best_time REAL, medals INTEGER);
INSERT INTO swimmers VALUES
(1, 'Kenji Marin', 'butterfly', 'Canada', 42.5, 18),
(2, 'David Okafor', 'backstroke', 'Norway', 37.3, 0),
(3, 'Nadia Quinn', 'backstroke', 'Kenya', 38.2, 25),
(4, 'Zoe Silva', 'freestyle', 'Japan', 37.2, 21),
(5, 'Lena Novak', 'freestyle', 'Kenya', 33.6, 0),
(6, 'Felix Berg', 'butterfly', 'Norway', 43.8, 13),
(7, 'Amara Okafor', 'butterfly', 'Spain', 44.3, 9),
(8, 'Aisha Kovacs', 'freestyle', 'Spain', 56.4, 2),
(9, 'Hugo Weber', 'freestyle', 'Canada', 50.8, 24),
(10, 'Daniel Santos', 'butterfly', 'Norway', 39.3, 10),
(11, 'Zoe Walsh', 'freestyle', 'Japan', 21.9, 16),
(12, 'Omar Petrova', 'butterfly', 'Norway', 40.7, 7),
(13, 'Tomas Kovacs', 'butterfly', 'Canada', 23, 25),
(14, 'Peter Sato', 'butterfly', 'Kenya', 24.4, 6),
(15, 'Leila Haddad', 'freestyle', 'Kenya', 60.4, 1),
(16, 'Clara Miller', 'backstroke', 'Chile', 61.2, 19);
