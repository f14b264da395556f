CREATE TABLE recipes (id INTEGER PRIMARY KEY, name TEXT, cuisine TEXT, difficulty TEXT, cooking_time INTEGER, servings INTEGER);
INSERT INTO recipes VALUES
(1, 'Tagine', 'European', 'hard', 130, 6),
(2, 'Lasagne', 'Asian', 'hard', 80, 12),
(3, 'Borscht', 'Latin', 'hard', 50, 12),
(4, 'Ceviche', 'Latin', 'medium', 170, 9),
(5, 'Paella', 'Latin', 'hard', 160, 5),
(6, 'Pho', 'Latin', 'hard', 25, 3),
(7, 'Moussaka', 'Arabic', 'hard', 165, 7),
(8, 'Gumbo', 'European', 'easy', 95, 12),
(9, 'Goulash', 'European', 'hard', 110, 8),
(10, 'Falafel', 'Asian', 'medium', 105, 4),
(11, 'Ramen', 'Arabic', 'medium', 85, 7),
(12, 'Fondue', 'Asian', 'easy', 150, 7),
(13, 'Pierogi', 'Asian', 'easy', 155, 8),
(14, 'Shakshuka', 'European', 'medium', 180, 5);
