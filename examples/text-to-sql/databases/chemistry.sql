CREATE TABLE elements (id INTEGER PRIMARY KEY, name TEXT, state TEXT, melting_point INTEGER, density REAL, discovered INTEGER);
INSERT INTO elements VALUES
(1, 'Neon', 'gas', 88, 17.5, 1816),
(2, 'Gold', 'solid', 99, 13.2, 1893),
(3, 'Zinc', 'solid', 1556, 5.4, 1797),
(4, 'Carbon', 'gas', 668, 19.2, 1822),
(5, 'Tin', 'gas', 494, 20.1, NULL),
(6, 'Silver', 'solid', 970, 4.1, NULL),
(7, 'Helium', 'gas', -204, 15, 1809),
(8, 'Copper', 'solid', 1421, 10.9, NULL),
(9, 'Nickel', 'solid', 753, 7.9, 1873),
(10, 'Oxygen', 'solid', 1208, 11.7, 1823),
(11, 'Xenon', 'solid', -11, 10.3, 1789),
(12, 'Sulfur', 'solid', 674, 8.3, NULL),
(13, 'Iodine', 'solid', 854, 3.1, 1783),
(14, 'Lead', 'gas', -71, 16.2, 1781),
(15, 'Argon', 'solid', 421, 4.5, NULL),
(16, 'Iron', 'gas', 338, 7.5, 1836);
