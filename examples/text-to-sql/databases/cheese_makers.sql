CREATE TABLE dairies (id INTEGER PRIMARY KEY, name TEXT, village TEXT, milk_cows INTEGER);
INSERT INTO dairies VALUES
(1, 'Three Goats', 'Trun', 18),
(2, 'Valley Cream', 'Andeer', 117),
(3, 'Old Churn', 'Splugen', 81),
(4, 'Rocca', 'Splugen', 108),
(5, 'Sunny Cow', 'Trun', 59),
(6, 'Berghof', 'Andeer', 29),
(7, 'Meadow Milk', 'Trun', 101),
(8, 'Alm Dairy', 'Trun', 57),
(9, 'La Ferme', 'Trun', 26),
(10, 'Green Pasture', 'Andeer', 103);

CREATE TABLE cheeses (id INTEGER PRIMARY KEY, cheese_name TEXT, dairy_id INTEGER REFERENCES dairies(id), milk_type TEXT, ripening INTEGER, fat_content INTEGER);
INSERT INTO cheeses VALUES
(1, 'Bluebell', 4, 'sheep', 34, 52),
(2, 'Hay Box', 2, 'cow', 16, 28),
(3, 'Peppercorn', 4, 'cow', 33, 26),
(4, 'Little Brie', 5, 'goat', 24, 21),
(5, 'Mont Gris', 2, 'sheep', 3, 29),
(6, 'Cloudy', 5, 'sheep', 67, 54),
(7, 'Stone Age', 4, 'cow', 92, 31),
(8, 'Red Rind', 5, 'sheep', 91, 18),
(9, 'Herb Ring', 10, 'goat', 39, 43),
(10, 'Velvet Cap', 2, 'cow', 21, 62),
(11, 'Smoked Wheel', 6, 'cow', 4, 56),
(12, 'Truffle Log', 5, 'goat', 57, 53),
(13, 'Alpkase', 4, 'goat', 72, 60),
(14, 'Old Amber', 1, 'sheep', 47, 46),
(15, 'Goat Button', 5, 'goat', 41, 42),
(16, 'Salt Moon', 10, 'goat', 13, 51);
