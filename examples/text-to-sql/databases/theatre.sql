CREATE TABLE theatres (id INTEGER PRIMARY KEY, name TEXT, city TEXT, seats INTEGER);
INSERT INTO theatres VALUES
(1, 'Garrick', 'Oslo', 1240),
(2, 'Apollo', 'Vienna', 1400),
(3, 'Little Globe', 'Lisbon', 160),
(4, 'Riverside Stage', 'Oslo', 1800),
(5, 'Athena', 'Lima', 220),
(6, 'Old Vic House', 'Vienna', 1620),
(7, 'Lyric', 'Toronto', 680),
(8, 'Royal Court', 'Vienna', 640),
(9, 'Majestic', 'Lisbon', 820),
(10, 'Grand Palace', 'Vienna', 980);

CREATE TABLE plays (id INTEGER PRIMARY KEY, title TEXT, theatre_id INTEGER REFERENCES theatres(id), playwright TEXT, acts INTEGER, premiere TEXT);
INSERT INTO plays VALUES
(1, 'Old Debts', 10, 'Ingrid Jansen', 1, '2020-11-09'),
(2, 'Summer Ghosts', 5, 'Sofia Rossi', 2, '2024-07-01'),
(3, 'A Cold Supper', 10, 'Kenji Tanaka', 4, '2019-01-27'),
(4, 'The Bell Ringer', 6, 'Ingrid Berg', 4, '2019-11-01'),
(5, 'The Empty Chair', 8, 'Victor Ortega', 2, '2022-03-22'),
(6, 'The Envoy', 1, 'Elena Weber', 3, '2019-01-13'),
(7, 'Silent Partners', 6, 'Leila Haddad', 2, '2024-11-15'),
(8, 'Two Brothers', 10, 'Omar Petrova', 2, '2020-07-21'),
(9, 'Fools and Kings', 8, 'Maria Lopez', 3, '2018-09-27'),
(10, 'The Magistrate', 3, 'Samuel Cohen', 4, '2019-05-14'),
(11, 'Market Day', 1, 'Noah Adler', 3, '2019-05-09'),
(12, 'Rain Check', 1, 'Lucas Rossi', 5, '2019-06-10'),
(13, 'Paper Crown', 1, 'Priya Adler', 5, '2018-12-05'),
(14, 'The Cherry Thief', 8, 'Daniel Brown', 5, '2023-07-08'),
(15, 'The Tailor', 10, 'Lena Novak', 1, '2024-03-02'),
(16, 'Dear Rival', 1, 'Amara Brown', 3, '2019-07-13');
