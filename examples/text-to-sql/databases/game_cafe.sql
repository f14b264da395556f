CREATE TABLE board_games (id INTEGER PRIMARY KEY, name TEXT, mechanic TEXT, max_players INTEGER, play_time INTEGER, rating REAL);
INSERT INTO board_games VALUES
(1, 'Code Red', 'drafting', 3, 120, 8.3),
(2, 'Harvest Moon', 'dice', 4, 205, 4.4),
(3, 'Dragon Pass', 'dice', 3, 40, 5.5),
(4, 'Space Traders', 'drafting', 7, 105, 5.3),
(5, 'Tiny Towns', 'cards', 3, 150, 4.9),
(6, 'Market Kings', 'tiles', 4, 95, 6.5),
(7, 'Castle Builders', 'dice', 10, 80, 4.7),
(8, 'Sky Bridge', 'dice', 9, 45, 8.5),
(9, 'Pirate Cove', 'cards', 5, 15, 9),
(10, 'Night Train', 'cards', 9, 215, 7.4),
(11, 'Lost Temple', 'tiles', 6, 170, 4.6),
(12, 'Ocean Quest', 'tiles', 2, 125, 7.2),
(13, 'Word Storm', 'drafting', 6, 30, 9.6),
(14, 'Frost Giants', 'dice', 5, 70, 7.6);
