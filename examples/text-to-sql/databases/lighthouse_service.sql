CREATE TABLE lighthouses (id INTEGER PRIMARY KEY, name TEXT, coast TEXT, tower_height INTEGER, lit_since INTEGER, lamp_range INTEGER, lamp_warden TEXT);
INSERT INTO lighthouses VALUES
(1, 'Whale Ness', 'Adriatic', 54, 1921, 29, 'David Okafor'),
(2, 'North Foreland', 'Adriatic', 30, 1901, 8, 'Ivan Novak'),
(3, 'Wreck Bay', 'Baltic', 46, 1898, 30, 'Amara Okafor'),
(4, 'Fog Cape', 'Adriatic', 38, 1812, 19, NULL),
(5, 'Sand Spit', 'Atlantic', 8, 1798, 20, 'Daniel Brown'),
(6, 'Old Lantern', 'Baltic', 42, 1952, 23, 'Hugo Fischer'),
(7, 'Seal Skerry', 'Adriatic', 66, 1880, 13, 'Maria Tanaka'),
(8, 'Gull Point', 'Atlantic', 9, 1795, 34, 'Nadia Quinn'),
(9, 'Black Rock', 'Baltic', 72, 1914, 17, 'Lena Fischer'),
(10, 'Mermaid Reef', 'Baltic', 19, 1829, 10, NULL),
(11, 'Anchor Tip', 'Atlantic', 68, 1929, 21, 'Noah Sharma'),
(12, 'Storm Head', 'Baltic', 58, 1917, 16, 'Samuel Cohen'),
(13, 'Cape Grim', 'Baltic', 74, 1842, 18, 'Maria Lopez'),
(14, 'Pearl Island', 'Adriatic', 28, 1900, 26, 'Kenji Marin');
