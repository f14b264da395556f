CREATE TABLE cakes (id INTEGER PRIMARY KEY, name TEXT, topping TEXT, price REAL, calories INTEGER, slices INTEGER);
INSERT INTO cakes VALUES
(1, 'Almond Ring', 'nuts', 25.5, 320, 14),
(2, 'Plum Crumble', 'nuts', 30.5, 560, 13),
(3, 'Lemon Tart', 'sugar', 15.5, 590, 8),
(4, 'Cheesecake', 'cream', 36.5, 580, 15),
(5, 'Poppy Roll', 'nuts', 8.5, 640, 6),
(6, 'Carrot Cake', 'cream', 23.5, 630, 14),
(7, 'Apple Strudel', NULL, 33, 260, 14),
(8, 'Cherry Pie', 'cream', 34.5, 480, 14),
(9, 'Chocolate Torte', 'sugar', 17, 430, 15),
(10, 'Pear Galette', NULL, 32.5, 410, 15),
(11, 'Black Forest', 'cream', 18.5, 660, 11),
(12, 'Opera', 'nuts', 38, 230, 5),
(13, 'Honey Slice', 'sugar', 45, 220, 13),
(14, 'Marble Loaf', 'sugar', 35, 710, 15);
