CREATE TABLE shoes (id INTEGER PRIMARY KEY, model TEXT, color TEXT, season TEXT, price INTEGER, pairs INTEGER);
INSERT INTO shoes VALUES
(1, 'Alpine Boot', 'black', 'winter', 180, 5),
(2, 'High Top', 'white', 'winter', 160, 38),
(3, 'Trail Runner', 'white', 'summer', 135, 19),
(4, 'Deck Shoe', 'blue', 'autumn', 80, 69),
(5, 'Court Pro', 'blue', 'autumn', 220, 51),
(6, 'Ballet Flat', 'white', 'summer', 225, 25),
(7, 'Clog', 'blue', 'winter', 25, 20),
(8, 'Moccasin', 'brown', 'summer', 110, 72),
(9, 'City Loafer', 'black', 'summer', 140, 22),
(10, 'Rain Boot', 'brown', 'autumn', 125, 24),
(11, 'Beach Slide', 'brown', 'autumn', 155, 23),
(12, 'Sprint X', 'white', 'autumn', 85, 8),
(13, 'Snow Step', 'black', 'autumn', 230, 35),
(14, 'Desert Boot', 'brown', 'winter', 95, 74);
