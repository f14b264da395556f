CREATE TABLE clubs (club_id INTEGER PRIMARY KEY, name TEXT, city TEXT, founded INTEGER);
INSERT INTO clubs VALUES
(1, 'Harbour FC', 'Lisbon', 1956),
(2, 'Red Lions', 'Toronto', 1955),
(3, 'Olympic Sud', 'Oslo', 1898),
(4, 'Albion', 'Toronto', 1942),
(5, 'Rovers', 'Lima', 1922),
(6, 'Athletic Bay', 'Vienna', 1950),
(7, 'United Stars', 'Lisbon', 1961),
(8, 'Real Norte', 'Lisbon', 1913),
(9, 'Wanderers', 'Lima', 1904),
(10, 'Dynamo West', 'Lima', 1953);

CREATE TABLE footballers (footballer_id INTEGER PRIMARY KEY, name TEXT, club_id INTEGER REFERENCES clubs(club_id), position TEXT, goals INTEGER, market_value INTEGER);
INSERT INTO footballers VALUES
(1, 'Maria Tanaka', 3, 'striker', 40, 43),
(2, 'Lena Novak', 3, 'midfielder', 36, 4),
(3, 'Ingrid Berg', 8, 'goalkeeper', 45, 90),
(4, 'Emil Haddad', 8, 'goalkeeper', 42, 51),
(5, 'Victor Lopez', 5, 'striker', 3, 68),
(6, 'Hugo Fischer', 5, 'striker', 37, 78),
(7, 'Oscar Lindholm', 8, 'goalkeeper', 24, 31),
(8, 'Clara Santos', 5, 'defender', 16, 55),
(9, 'Tomas Kovacs', 4, 'defender', 30, 27),
(10, 'Ivan Novak', 5, 'striker', 33, 59),
(11, 'Hugo Weber', 8, 'midfielder', 15, 18),
(12, 'Rosa Marin', 4, 'goalkeeper', 31, 75),
(13, 'Hana Sato', 8, 'defender', 34, 12),
(14, 'Amara Brown', 5, 'defender', 23, 35),
(15, 'Oscar Quinn', 4, 'goalkeeper', 1, 40),
(16, 'Nadia Petrova', 10, 'defender', 14, 54),
(17, 'Rosa Ortega', 5, 'defender', 41, 11),
(18, 'Omar Petrova', 8, 'striker', 9, 77);
