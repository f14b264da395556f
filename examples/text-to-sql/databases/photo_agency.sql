CREATE TABLE photographers (id INTEGER PRIMARY KEY, name TEXT, home_town TEXT, day_rate INTEGER);
INSERT INTO photographers VALUES
(1, 'Elena Moreau', 'Lima', 310),
(2, 'Nadia Quinn', 'Lima', 460),
(3, 'Tomas Khan', 'Lima', 250),
(4, 'Kenji Tanaka', 'Toronto', 540),
(5, 'Hugo Fischer', 'Oslo', 160),
(6, 'Omar Petrova', 'Lima', 670),
(7, 'Tomas Kovacs', 'Lima', 520),
(8, 'Maria Tanaka', 'Toronto', 770),
(9, 'Oscar Quinn', 'Vienna', 640),
(10, 'Aisha Khan', 'Vienna', 290),
(11, 'Oscar Lindholm', 'Lisbon', 860),
(12, 'Sofia Cohen', 'Lima', 560);

CREATE TABLE photos (id INTEGER PRIMARY KEY, caption TEXT, photographer_id INTEGER REFERENCES photographers(id), subject TEXT, taken_on TEXT, downloads INTEGER);
INSERT INTO photos VALUES
(1, 'Paper Boats', 6, 'landscape', '2021-09-05', 4530),
(2, 'Snow Fence', 4, 'wildlife', '2019-06-07', 4710),
(3, 'Blue Door', 6, 'landscape', '2023-06-27', 2410),
(4, 'Market at Dawn', 4, 'wildlife', '2019-01-24', 4490),
(5, 'Old Hands', 7, 'wildlife', '2023-02-05', 2780),
(6, 'Harbor Lights', 3, 'landscape', '2021-05-02', 390),
(7, 'Misty Valley', 6, 'wildlife', '2018-04-16', 10),
(8, 'Summer Roof', 12, 'portrait', '2022-06-23', 1170),
(9, 'The Climb', 4, 'landscape', '2016-05-08', 3720),
(10, 'Crowded Tram', 6, 'portrait', '2018-03-09', 2590),
(11, 'Desert Road', 6, 'street', '2020-10-03', 740),
(12, 'Red Umbrella', 6, 'landscape', '2015-09-15', 4810),
(13, 'Two Chairs', 6, 'street', '2020-05-25', 930),
(14, 'Neon Alley', 4, 'street', '2016-05-13', 2430),
(15, 'First Frost', 7, 'portrait', '2016-07-09', 3840),
(16, 'Still Pond', 6, 'wildlife', '2015-04-25', 1950);
