CREATE TABLE sites (id INTEGER PRIMARY KEY, name TEXT, phase TEXT, cost INTEGER);
INSERT INTO sites VALUES
(1, 'City Bridge', 'planning', 424),
(2, 'Old Mill', 'planning', 141),
(3, 'Arena', 'building', 427),
(4, 'Ring Road', 'finished', 266),
(5, 'Green Homes', 'finished', 461),
(6, 'Harbour Mall', 'finished', 203),
(7, 'North Tunnel', 'finished', 426),
(8, 'Lake Towers', 'finished', 18),
(9, 'Solar Campus', 'planning', 164),
(10, 'Metro Line 4', 'building', 62);

CREATE TABLE workers (id INTEGER PRIMARY KEY, name TEXT, site_id INTEGER REFERENCES sites(id), trade TEXT, daily_wage INTEGER, phone TEXT);
INSERT INTO workers VALUES
(1, 'Tomas Khan', 7, 'welder', 185, '555-1662'),
(2, 'Oscar Lindholm', 3, 'carpenter', 80, '555-9126'),
(3, 'Greta Lindholm', 5, 'electrician', 140, '555-9437'),
(4, 'Tomas Kovacs', 3, 'carpenter', 150, '555-4772'),
(5, 'Omar Hassan', 7, 'electrician', 205, NULL),
(6, 'Leila Dubois', 7, 'carpenter', 110, '555-3839'),
(7, 'Sofia Cohen', 9, 'carpenter', 85, '555-6327'),
(8, 'Hugo Weber', 3, 'carpenter', 250, '555-5083'),
(9, 'Aisha Khan', 5, 'electrician', 175, '555-7260'),
(10, 'Emil Haddad', 5, 'electrician', 260, '555-3217'),
(11, 'Victor Lopez', 6, 'welder', 300, '555-0729'),
(12, 'Elena Moreau', 7, 'mason', 240, '555-7882'),
(13, 'Kenji Tanaka', 7, 'mason', 200, NULL),
(14, 'Rosa Ortega', 5, 'mason', 95, NULL),
(15, 'Kenji Marin', 5, 'electrician', 215, NULL),
(16, 'Samuel Cohen', 5, 'welder', 135, '555-8193'),
(17, 'Omar Petrova', 7, 'carpenter', 190, '555-2906'),
(18, 'Ivan Novak', 10, 'welder', 225, NULL);
