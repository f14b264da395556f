CREATE TABLE galleries (id INTEGER PRIMARY KEY, name TEXT, floor TEXT, area INTEGER);
INSERT INTO galleries VALUES
(1, 'Tower Room', 'first', 450),
(2, 'East Wing', 'second', 480),
(3, 'West Wing', 'second', 100),
(4, 'Long Gallery', 'first', 460),
(5, 'Garden Court', 'first', 200),
(6, 'Rotunda', 'second', 490),
(7, 'Crypt', 'second', 440),
(8, 'North Hall', 'first', 160),
(9, 'Skylight Hall', 'ground', 270),
(10, 'Cabinet Room', 'ground', 280);

CREATE TABLE exhibits (id INTEGER PRIMARY KEY, name TEXT, gallery_id INTEGER REFERENCES galleries(id), material TEXT, made_in INTEGER, insured_value INTEGER);
INSERT INTO exhibits VALUES
(1, 'Ivory Flute', 5, 'bronze', 1420, 7500),
(2, 'Iron Helmet', 3, 'stone', 1114, 49000),
(3, 'Gold Mask', 3, 'bronze', 1601, 43500),
(4, 'Copper Lamp', 1, 'gold', 1654, 22500),
(5, 'Silver Bowl', 5, 'wood', 1307, 84000),
(6, 'Sun Disc', 3, 'gold', 1805, 86000),
(7, 'Stone Calendar', 9, 'stone', 1754, 3500),
(8, 'Painted Shield', 3, 'stone', 1225, 83000),
(9, 'Bronze Lion', 5, 'bronze', 1515, 71000),
(10, 'Carved Door', 9, 'stone', 1233, 12000),
(11, 'Marble Head', 1, 'wood', 1507, 500),
(12, 'Clay Horse', 3, 'bronze', 1800, 16500),
(13, 'Glass Beads', 9, 'bronze', 1769, 43000),
(14, 'Bronze Bell', 3, 'stone', 1124, 24500),
(15, 'Wooden Mask', 3, 'wood', 1602, 25500),
(16, 'Oak Throne', 5, 'bronze', 1728, 13000),
(17, 'Jade Ring', 1, 'wood', 1164, 42500),
(18, 'Amber Comb', 8, 'gold', 1467, 45000);
