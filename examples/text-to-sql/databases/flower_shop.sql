CREATE TABLE growers (id INTEGER PRIMARY KEY, name TEXT, region TEXT, greenhouse_count INTEGER);
INSERT INTO growers VALUES
(1, 'Felix Berg', 'north', 7),
(2, 'Oscar Quinn', 'south', 6),
(3, 'Greta Hassan', 'north', 7),
(4, 'Hana Sato', 'north', 5),
(5, 'Nadia Quinn', 'coast', 3),
(6, 'Nadia Petrova', 'coast', 10),
(7, 'Sofia Cohen', 'north', 3),
(8, 'Kenji Marin', 'coast', 15),
(9, 'Hana Larsen', 'north', 14),
(10, 'David Miller', 'north', 3),
(11, 'Ivan Novak', 'north', 2),
(12, 'Greta Lindholm', 'coast', 9);

CREATE TABLE flowers (id INTEGER PRIMARY KEY, name TEXT, grower_id INTEGER REFERENCES growers(id), color TEXT, stem_price REAL, stems INTEGER);
INSERT INTO flowers VALUES
(1, 'Camellia', 3, 'red', 1.3, 100),
(2, 'Sunflower', 12, 'red', 5.7, 50),
(3, 'Yellow Lily', 4, 'blue', 8.8, 100),
(4, 'Purple Aster', 2, 'red', 7.7, 270),
(5, 'Blue Iris', 1, 'blue', 5.4, 260),
(6, 'Hyacinth', 5, 'blue', 4.3, 210),
(7, 'White Rose', 2, 'red', 4, 130),
(8, 'Marigold', 3, 'white', 8.3, 230),
(9, 'Daisy', 3, 'white', 2.7, 250),
(10, 'Green Orchid', 12, 'white', 6.9, 200),
(11, 'Pink Peony', 9, 'yellow', 4.6, 160),
(12, 'Violet', 3, 'red', 2, 120),
(13, 'Red Tulip', 3, 'white', 7.2, 10),
(14, 'Orange Dahlia', 7, 'yellow', 5.2, 240),
(15, 'Freesia', 2, 'yellow', 7.5, 210),
(16, 'Carnation', 3, 'red', 8.9, 110);
