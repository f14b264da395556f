CREATE TABLE suppliers (id INTEGER PRIMARY KEY, name TEXT, country TEXT, phone TEXT);
INSERT INTO suppliers VALUES
(1, 'Bluepeak', 'Kenya', NULL),
(2, 'Silverline', 'Spain', '555-0418'),
(3, 'Clearwater', 'Spain', '555-6016'),
(4, 'Evergreen', 'Canada', '555-8193'),
(5, 'Suncrest', 'Norway', NULL),
(6, 'Starfield', 'Chile', '555-2595'),
(7, 'Redwood', 'Norway', '555-1351'),
(8, 'Stonegate', 'Kenya', '555-8504'),
(9, 'Riverton', 'Kenya', '555-7571'),
(10, 'Brightway', 'Norway', '555-7260'),
(11, 'Northwind', 'Japan', '555-3528'),
(12, 'Goldfinch', 'Kenya', '555-3217');

CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, supplier_id INTEGER REFERENCES suppliers(id), unit_price REAL, stock INTEGER, shelf TEXT);
INSERT INTO products VALUES
(1, 'Wood Glue', 9, 15.5, 275, 'A'),
(2, 'Paint Bucket', 9, 56, 290, 'C'),
(3, 'Safety Vest', 9, 115.5, 35, 'D'),
(4, 'Work Gloves', 9, 81, 90, 'C'),
(5, 'Cable Drum', 2, 138, 85, 'D'),
(6, 'Paper Roll', 8, 47, 115, 'A'),
(7, 'Hammer', 9, 92.5, 305, 'C'),
(8, 'Hand Drill', 9, 50, 420, 'C'),
(9, 'Tool Box', 6, 20, 315, 'D'),
(10, 'Door Handle', 9, 44, 235, 'D'),
(11, 'Garden Hose', 2, 11, 15, 'A'),
(12, 'Desk Lamp', 9, 107, 150, 'D'),
(13, 'Power Strip', 9, 10.5, 355, 'D'),
(14, 'Steel Bolt Set', 8, 84.5, 40, 'D'),
(15, 'Step Ladder', 8, 2, 480, 'D'),
(16, 'Tape Measure', 5, 30.5, 405, 'B'),
(17, 'Storage Bin', 2, 71.5, 365, 'B'),
(18, 'Wall Clock', 9, 19.5, 410, 'A');
