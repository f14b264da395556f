CREATE TABLE chess_clubs (id INTEGER PRIMARY KEY, name TEXT, meeting_place TEXT, annual_dues INTEGER);
INSERT INTO chess_clubs VALUES
(1, 'Check Mates', 'Toronto', 45),
(2, 'Castle Corner', 'Lima', 135),
(3, 'The Gambit', 'Vienna', 150),
(4, 'Bishop Square', 'Oslo', 130),
(5, 'Pawn Storm', 'Toronto', 100),
(6, 'Endgame', 'Lisbon', 70),
(7, 'Rook House', 'Vienna', 30),
(8, 'Black Knights', 'Lisbon', 50),
(9, 'En Passant', 'Oslo', 60),
(10, 'Queen Side', 'Toronto', 140);

CREATE TABLE chess_players (id INTEGER PRIMARY KEY, player_name TEXT, chess_club_id INTEGER REFERENCES chess_clubs(id), opening TEXT, elo INTEGER, draws INTEGER);
INSERT INTO chess_players VALUES
(1, 'Kenji Tanaka', 1, 'Sicilian', 2345, 23),
(2, 'Oscar Lindholm', 3, 'Sicilian', 2265, 46),
(3, 'Amara Okafor', 4, 'Queen''s Gambit', 1905, 38),
(4, 'Victor Lopez', 8, 'Caro-Kann', 1710, 50),
(5, 'Victor Ortega', 3, 'Queen''s Gambit', 2325, 19),
(6, 'Daniel Santos', 6, 'London', 1305, 40),
(7, 'Hana Larsen', 4, 'London', 2525, 7),
(8, 'David Miller', 7, 'London', 2175, 12),
(9, 'Omar Hassan', 4, 'London', 2365, 59),
(10, 'Nadia Petrova', 8, 'Queen''s Gambit', 1185, 41),
(11, 'Rosa Ortega', 6, 'Caro-Kann', 1925, 57),
(12, 'Leila Haddad', 8, 'Caro-Kann', 2380, 54),
(13, 'Elena Moreau', 4, 'Sicilian', 1330, 28),
(14, 'Priya Sharma', 8, 'London', 1865, 48),
(15, 'Elena Weber', 8, 'Caro-Kann', 2025, 58),
(16, 'Nadia Quinn', 10, 'London', 1445, 51),
(17, 'Lena Fischer', 8, 'Sicilian', 2130, 33),
(18, 'Ivan Moreau', 4, 'Caro-Kann', 1975, 14);
