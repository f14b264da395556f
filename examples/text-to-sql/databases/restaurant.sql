CREATE TABLE chefs (id INTEGER PRIMARY KEY, name TEXT, specialty TEXT, experience INTEGER);
INSERT INTO chefs VALUES
(1, 'Tomas Khan', 'pastry', 18),
(2, 'Elena Weber', 'grill', 15),
(3, 'Rosa Marin', 'pastry', 27),
(4, 'Lena Fischer', 'pastry', 32),
(5, 'Greta Lindholm', 'grill', 10),
(6, 'Noah Sharma', 'seafood', 11),
(7, 'Tomas Kovacs', 'grill', 6),
(8, 'Felix Dubois', 'seafood', 13),
(9, 'David Okafor', 'seafood', 12),
(10, 'Hugo Fischer', 'pastry', 31),
(11, 'Victor Ortega', 'seafood', 26),
(12, 'Aisha Khan', 'grill', 4);

CREATE TABLE dishes (id INTEGER PRIMARY KEY, name TEXT, chef_id INTEGER REFERENCES chefs(id), course TEXT, calories INTEGER, price REAL);
INSERT INTO dishes VALUES
(1, 'Chicken Pie', 10, 'starter', 260, 41),
(2, 'Tomato Salad', 12, 'dessert', 1130, 26.5),
(3, 'Pumpkin Ravioli', 3, 'main', 480, 11),
(4, 'Fish Tacos', 3, 'main', 1010, 15.5),
(5, 'Pepper Steak', 12, 'dessert', 670, 9),
(6, 'Lamb Curry', 8, 'starter', 660, 22),
(7, 'Grilled Trout', 2, 'starter', 460, 7.5),
(8, 'Mushroom Risotto', 1, 'starter', 390, 28.5),
(9, 'Lentil Soup', 1, 'main', 740, 34.5),
(10, 'Duck Confit', 10, 'starter', 420, 30),
(11, 'Crab Cakes', 6, 'starter', 750, 29.5),
(12, 'Pea Salad', 4, 'starter', 340, 26),
(13, 'Onion Soup', 3, 'main', 150, 23),
(14, 'Fig Ice Cream', 1, 'main', 550, 39),
(15, 'Baked Pear', 12, 'dessert', 930, 36),
(16, 'Beef Stew', 1, 'dessert', 310, 32.5);
