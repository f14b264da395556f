CREATE TABLE escape_rooms (id INTEGER PRIMARY KEY, name TEXT, theme TEXT, puzzles INTEGER, time_limit INTEGER, success_rate INTEGER, actor TEXT);
INSERT INTO escape_rooms VALUES
(1, 'Mad Lab', 'mystery', 23, 85, 29, 'guard'),
(2, 'Submarine', 'adventure', 27, 90, 33, 'guard'),
(3, 'Ghost Train', 'mystery', 24, 80, 8, 'guard'),
(4, 'Tomb of Ra', 'horror', 19, 115, 37, NULL),
(5, 'Time Machine', 'horror', 18, 110, 64, 'zombie'),
(6, 'Bank Job', 'horror', 12, 45, 67, 'zombie'),
(7, 'Prison Break', 'horror', 5, 85, 50, NULL),
(8, 'Sherlock', 'mystery', 10, 75, 47, NULL),
(9, 'Dragon Cave', 'horror', 5, 95, 39, 'butler'),
(10, 'Spy Office', 'mystery', 25, 120, 83, 'butler'),
(11, 'Haunted Attic', 'adventure', 22, 85, 10, 'butler'),
(12, 'The Vault', 'mystery', 17, 115, 14, NULL),
(13, 'Pirate Hold', 'mystery', 14, 80, 84, 'butler'),
(14, 'Alien Ship', 'adventure', 21, 110, 66, 'zombie');
