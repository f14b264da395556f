CREATE TABLE brands (id INTEGER PRIMARY KEY, name TEXT, headquarters_city TEXT, warranty INTEGER);
INSERT INTO brands VALUES
(1, 'Suncrest', 'Dublin', 12),
(2, 'Oakridge', 'Dublin', 54),
(3, 'Stonegate', 'Porto', 60),
(4, 'Brightway', 'Nairobi', 48),
(5, 'Goldfinch', 'Prague', 24),
(6, 'Bluepeak', 'Porto', 30),
(7, 'Starfield', 'Prague', 60),
(8, 'Riverton', 'Porto', 48),
(9, 'Northwind', 'Nairobi', 54),
(10, 'Clearwater', 'Porto', 24),
(11, 'Ironleaf', 'Porto', 60),
(12, 'Redwood', 'Dublin', 48);

CREATE TABLE laptops (id INTEGER PRIMARY KEY, model TEXT, brand_id INTEGER REFERENCES brands(id), memory INTEGER, screen_size REAL, price INTEGER);
INSERT INTO laptops VALUES
(1, 'Swift 5', 10, 20, 12, 2800),
(2, 'Ultra 15', 10, 64, 15.5, 320),
(3, 'Air 11', 10, 52, 12, 3500),
(4, 'Spark 14', 5, 104, 15.5, 2460),
(5, 'Tab 11', 11, 96, 13, 3130),
(6, 'Max 18', 11, 20, 18, 2290),
(7, 'Core 12', 2, 44, 13.5, 1280),
(8, 'Flex 13', 10, 96, 17, 2730),
(9, 'Go 13', 4, 120, 10, 2470),
(10, 'Duo 14', 10, 72, 17.5, 3120),
(11, 'Nova 16', 11, 32, 13.5, 1760),
(12, 'Lite 10', 7, 12, 16, 1050),
(13, 'Edge 17', 6, 24, 16.5, 1630),
(14, 'Zen 3', 11, 100, 14, 2140),
(15, 'Pro 14', 12, 40, 14.5, 2200),
(16, 'Note X2', 6, 8, 14, 620);
