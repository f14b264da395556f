CREATE TABLE telescopes (id INTEGER PRIMARY KEY, name TEXT, mounting TEXT, mirror INTEGER);
INSERT INTO telescopes VALUES
(1, 'Zenith Scope', 'fork', 720),
(2, 'Twin Mirror', 'alt-azimuth', 615),
(3, 'Small Bear', 'alt-azimuth', 35),
(4, 'Night Watch', 'dobson', 660),
(5, 'Owl', 'fork', 415),
(6, 'Polar Eye', 'fork', 165),
(7, 'Sky Hunter', 'fork', 85),
(8, 'Giant Lens', 'dobson', 775),
(9, 'Big Eye', 'alt-azimuth', 150),
(10, 'Dome Nine', 'dobson', 245);

CREATE TABLE sightings (id INTEGER PRIMARY KEY, object_name TEXT, telescope_id INTEGER REFERENCES telescopes(id), constellation TEXT, brightness REAL, seen_on TEXT);
INSERT INTO sightings VALUES
(1, 'Comet Lind', 6, 'Cygnus', 7, '2022-05-31'),
(2, 'Halo X', 5, 'Draco', 17, '2023-07-06'),
(3, 'Spiral 9', 3, 'Cygnus', 7.5, '2023-09-19'),
(4, 'Red Giant 3', 5, 'Cygnus', 6, '2021-02-08'),
(5, 'Twin Cluster', 5, 'Orion', 1.5, '2022-09-07'),
(6, 'Nova K', 5, 'Orion', 5, '2021-02-28'),
(7, 'Quasar M', 6, 'Draco', 14.5, '2022-05-17'),
(8, 'Comet Ares', 5, 'Draco', 11, '2024-05-25'),
(9, 'Moonlet 5', 1, 'Draco', 18, '2024-03-14'),
(10, 'Comet Boro', 1, 'Lyra', 10, '2023-02-22'),
(11, 'Pulsar T', 1, 'Cygnus', 10.5, '2022-04-12'),
(12, 'Asteroid 77', 1, 'Lyra', 3, '2021-03-26'),
(13, 'Ring Galaxy', 3, 'Draco', 15.5, '2021-08-25'),
(14, 'Dark Cloud', 6, 'Lyra', 1, '2023-08-08'),
(15, 'Dwarf Star 8', 3, 'Lyra', 4, '2024-06-15'),
(16, 'Nebula 12', 6, 'Draco', 13.5, '2022-05-28');
