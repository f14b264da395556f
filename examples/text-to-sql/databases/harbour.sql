CREATE TABLE piers (id INTEGER PRIMARY KEY, name TEXT, water_depth INTEGER, operator_firm TEXT);
INSERT INTO piers VALUES
(1, 'Ferry Slip', 24, 'Dockline'),
(2, 'Old Dock', 18, 'Dockline'),
(3, 'East Basin', 21, NULL),
(4, 'Timber Dock', 3, 'Dockline'),
(5, 'Stone Jetty', 22, 'Portus'),
(6, 'Customs Quay', 20, NULL),
(7, 'Fish Quay', 8, 'Marinex'),
(8, 'North Pier', 14, 'Portus'),
(9, 'Long Mole', 12, 'Portus'),
(10, 'Coal Wharf', 23, NULL);

CREATE TABLE vessels (id INTEGER PRIMARY KEY, vessel_name TEXT, pier_id INTEGER REFERENCES piers(id), flag TEXT, tonnage INTEGER, crew INTEGER);
INSERT INTO vessels VALUES
(1, 'Nordwind', 8, 'Malta', 3750, 6),
(2, 'Queen Ann', 5, 'Malta', 1650, 17),
(3, 'Sirius', 3, 'Liberia', 2200, 27),
(4, 'Mary Jane', 8, 'Panama', 3000, 21),
(5, 'Big Blue', 1, 'Panama', 600, 5),
(6, 'Polaris', 5, 'Malta', 2950, 26),
(7, 'Sea Lark', 4, 'Panama', 9650, 28),
(8, 'Santa Rita', 9, 'Malta', 900, 20),
(9, 'Cormorant', 4, 'Panama', 5300, 25),
(10, 'Kingfisher', 8, 'Liberia', 6300, 48),
(11, 'Black Pearl', 7, 'Panama', 7400, 18),
(12, 'Tern', 1, 'Panama', 9700, 10),
(13, 'Osprey', 8, 'Malta', 1000, 40),
(14, 'Wanderer', 8, 'Panama', 6400, 23),
(15, 'Petrel', 5, 'Malta', 2500, 35),
(16, 'Albatross', 1, 'Panama', 2650, 16);
