CREATE TABLE perfumes (id INTEGER PRIMARY KEY, name TEXT, scent_family TEXT, bottle_size INTEGER, retail_value INTEGER, launch_year INTEGER, nose TEXT);
INSERT INTO perfumes VALUES
(1, 'Pure Neroli', 'floral', 130, 146, 1998, 'Leila Dubois'),
(2, 'Citron Vert', 'fresh', 125, 212, 1992, 'Felix Dubois'),
(3, 'Santal', 'floral', 95, 226, 2020, 'Peter Sato'),
(4, 'Fig Shade', 'fresh', 85, 54, 1982, 'Aisha Kovacs'),
(5, 'Golden Iris', 'woody', 105, 128, 2009, NULL),
(6, 'Rain Leaf', 'fresh', 130, 154, 1990, 'Felix Berg'),
(7, 'Ocean Mist', 'woody', 85, 110, 1989, NULL),
(8, 'Tonka Dream', 'floral', 90, 100, 2000, NULL),
(9, 'Fleur Noire', 'woody', 100, 124, 2011, NULL),
(10, 'Velvet Musk', 'woody', 125, 102, 1995, 'Oscar Quinn'),
(11, 'Nuit Rose', 'woody', 125, 230, 2006, 'Leila Haddad'),
(12, 'Cedar Song', 'fresh', 115, 82, 2001, 'Omar Petrova'),
(13, 'Lavande', 'floral', 45, 86, 1975, 'Daniel Brown'),
(14, 'Amber Veil', 'fresh', 90, 62, 1987, 'Elena Weber');
