CREATE TABLE rivers (id INTEGER PRIMARY KEY, name TEXT, country TEXT, length INTEGER, bridges INTEGER, flows_into TEXT);
INSERT INTO rivers VALUES
(1, 'Morava', 'Japan', 1490, 14, 'Black Sea'),
(2, 'Garva', 'Norway', 2720, 8, 'Black Sea'),
(3, 'Belten', 'Spain', 1870, 47, 'Black Sea'),
(4, 'Fiora', 'Kenya', 210, 11, 'Black Sea'),
(5, 'Isara', 'Kenya', 1260, 37, 'Black Sea'),
(6, 'Kamor', 'Canada', 2070, 17, 'Baltic Sea'),
(7, 'Lenta', 'Japan', 1410, 13, 'Atlantic'),
(8, 'Arvo', 'Kenya', 630, 27, 'Baltic Sea'),
(9, 'Helmund', 'Spain', 1800, 19, 'Baltic Sea'),
(10, 'Dunai', 'Canada', 510, 3, 'Atlantic'),
(11, 'Jelva', 'Chile', 530, 5, 'Black Sea'),
(12, 'Corra', 'Kenya', 790, 22, 'Atlantic'),
(13, 'Nidda', 'Spain', 400, 12, 'Atlantic'),
(14, 'Elster', 'Kenya', 270, 52, 'Baltic Sea');
