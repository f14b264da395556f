CREATE TABLE ski_resorts (id INTEGER PRIMARY KEY, name TEXT, canton TEXT, lifts INTEGER);
INSERT INTO ski_resorts VALUES
(1, 'Eagle Top', 'Valais', 15),
(2, 'White Valley', 'Uri', 18),
(3, 'Polar Glade', 'Uri', 13),
(4, 'Crystal Ridge', 'Valais', 45),
(5, 'Alpenhof', 'Valais', 38),
(6, 'Powder Peak', 'Bern', 12),
(7, 'Ice Meadow', 'Bern', 10),
(8, 'Silver Run', 'Valais', 44),
(9, 'Snowdale', 'Valais', 39),
(10, 'Frost Bowl', 'Bern', 8);

CREATE TABLE slopes (id INTEGER PRIMARY KEY, slope_name TEXT, resort_id INTEGER REFERENCES ski_resorts(id), grading TEXT, vertical_drop INTEGER, snow_guns INTEGER);
INSERT INTO slopes VALUES
(1, 'The Wall', 9, 'blue', 1150, 19),
(2, 'Bunny Hill', 7, 'green', 440, 37),
(3, 'Mogul Field', 1, 'blue', 630, 32),
(4, 'Lazy Bear', 7, 'blue', 860, 39),
(5, 'Easy Street', 7, 'blue', 500, 44),
(6, 'Skyline', 9, 'blue', 270, 16),
(7, 'Devil Drop', 8, 'black', 480, 9),
(8, 'Widowmaker', 9, 'black', 910, 1),
(9, 'Nursery', 1, 'green', 1070, 15),
(10, 'Black Diamond', 7, 'blue', 870, 38),
(11, 'Rocket', 2, 'red', 110, 3),
(12, 'Glacier Run', 7, 'red', 970, 24),
(13, 'Sunny Side', 1, 'red', 660, 25),
(14, 'Panorama', 7, 'green', 330, 20),
(15, 'Couloir', 9, 'red', 100, 43),
(16, 'Family Run', 1, 'black', 920, 14);
