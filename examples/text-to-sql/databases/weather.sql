CREATE TABLE weather_stations (id INTEGER PRIMARY KEY, name TEXT, altitude INTEGER, country TEXT);
INSERT INTO weather_stations VALUES
(1, 'Summit', 838, 'Japan'),
(2, 'Harbor', 2073, 'Chile'),
(3, 'Lakeside', 254, 'Spain'),
(4, 'North Cape', 186, 'Kenya'),
(5, 'Airfield', 822, 'Japan'),
(6, 'Forest Edge', 1743, 'Chile'),
(7, 'Old Town', 2150, 'Kenya'),
(8, 'Desert Camp', 2407, 'Kenya'),
(9, 'Island', 1276, 'Kenya'),
(10, 'Glacier Hut', 1095, 'Chile');

CREATE TABLE readings (id INTEGER PRIMARY KEY, code TEXT, station_id INTEGER REFERENCES weather_stations(id), temperature REAL, rainfall INTEGER, wind TEXT);
INSERT INTO readings VALUES
(1, 'W535', 5, 1.5, 22, 'west'),
(2, 'W581', 7, -17.5, 2, 'south'),
(3, 'W443', 2, 19.5, 3, 'south'),
(4, 'W949', 1, 8, 54, 'west'),
(5, 'W466', 1, 26.5, 14, 'north'),
(6, 'W788', 7, 13.5, 16, 'south'),
(7, 'W926', 3, 17, 21, 'north'),
(8, 'W765', 8, 40.5, 19, 'west'),
(9, 'W351', 9, 9, 65, 'west'),
(10, 'W903', 7, 39.5, 67, 'west'),
(11, 'W512', 7, 18, 90, 'south'),
(12, 'W857', 7, -2, 20, 'west'),
(13, 'W374', 7, 23.5, 7, 'south'),
(14, 'W811', 5, 27, 26, 'north'),
(15, 'W604', 2, -5.5, 60, 'north'),
(16, 'W305', 5, -7.5, 35, 'south'),
(17, 'W696', 7, -8.5, 52, 'west'),
(18, 'W328', 5, 11, 36, 'north');
