CREATE TABLE jewels (id INTEGER PRIMARY KEY, name TEXT, metal TEXT, gem TEXT, carat REAL, price INTEGER);
INSERT INTO jewels VALUES
(1, 'Luna Brooch', 'platinum', NULL, 0.6, 1550),
(2, 'Vega Earrings', 'gold', 'pearl', 4.6, 1600),
(3, 'Silva Band', 'gold', 'pearl', 2.4, 6400),
(4, 'Iris Bracelet', 'gold', NULL, 6, 4550),
(5, 'Gemma Ring', 'gold', 'emerald', 0.9, 1700),
(6, 'Ruby Drop', 'platinum', 'pearl', 2, 6950),
(7, 'Coral Pin', 'gold', NULL, 4.4, 2650),
(8, 'Opal Cuff', 'platinum', NULL, 1.7, 7100),
(9, 'Cleo Chain', 'silver', 'emerald', 3.4, 1750),
(10, 'Stella Pendant', 'platinum', 'ruby', 0.8, 850),
(11, 'Aurora Ring', 'platinum', 'ruby', 4.3, 4100),
(12, 'Pearl Strand', 'platinum', 'pearl', 5, 2550),
(13, 'Nova Tiara', 'silver', 'ruby', 2.3, 3450),
(14, 'Dawn Necklace', 'gold', 'emerald', 4.8, 3600);
