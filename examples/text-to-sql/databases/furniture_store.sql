CREATE TABLE furniture (id INTEGER PRIMARY KEY, name TEXT, room TEXT, wood TEXT, price INTEGER, weight INTEGER);
INSERT INTO furniture VALUES
(1, 'Kent Desk', 'office', 'oak', 165, 66),
(2, 'Alma Table', 'kitchen', 'beech', 1435, 95),
(3, 'Nord Shelf', 'kitchen', 'beech', 240, 77),
(4, 'Vera Lamp', 'office', 'pine', 535, 93),
(5, 'Iris Mirror', 'bedroom', 'beech', 1000, 50),
(6, 'Milo Stool', 'office', 'beech', 1035, 60),
(7, 'Oslo Chair', 'office', 'pine', 1200, 78),
(8, 'Otto Wardrobe', 'kitchen', 'beech', 1365, 10),
(9, 'Ada Bench', 'office', 'oak', 1480, 54),
(10, 'Luna Bed', 'office', 'beech', 630, 92),
(11, 'Hugo Armchair', 'kitchen', 'beech', 1245, 56),
(12, 'Tilda Cabinet', 'kitchen', 'beech', 740, 84),
(13, 'Mara Dresser', 'bedroom', 'oak', 55, 30),
(14, 'Rio Sofa', 'kitchen', 'pine', 45, 42);
