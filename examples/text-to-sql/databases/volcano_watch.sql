CREATE TABLE volcanoes (id INTEGER PRIMARY KEY, name TEXT, archipelago TEXT, summit INTEGER, crater_width INTEGER, last_eruption INTEGER, alert TEXT);
INSERT INTO volcanoes VALUES
(1, 'Katora', 'Azores', 2850, 1030, 1651, 'watch'),
(2, 'Ash Mountain', 'Canaries', 980, 1480, NULL, 'watch'),
(3, 'Ember Peak', 'Azores', 2170, 2070, NULL, 'calm'),
(4, 'Kilo Nui', 'Azores', 2200, 2370, 1885, 'calm'),
(5, 'Pico Alto', 'Kurils', 1800, 630, NULL, 'danger'),
(6, 'Sierra Humo', 'Canaries', 3920, 970, 1934, 'watch'),
(7, 'Old Smoker', 'Canaries', 2480, 2400, 1691, 'danger'),
(8, 'Black Dome', 'Kurils', 4710, 2020, 1875, 'watch'),
(9, 'Grand Crater', 'Canaries', 4140, 550, 1730, 'danger'),
(10, 'Red Cone', 'Azores', 4090, 150, 1887, 'danger'),
(11, 'Vulcan Sur', 'Kurils', 4780, 1720, 1815, 'calm'),
(12, 'Tolima Negra', 'Azores', 4040, 130, 1939, 'danger'),
(13, 'Isla Fuego', 'Kurils', 3160, 2000, 1830, 'danger'),
(14, 'Mount Karu', 'Canaries', 2740, 1590, 1968, 'watch');
