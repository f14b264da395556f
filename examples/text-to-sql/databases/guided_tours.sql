CREATE TABLE guides (id INTEGER PRIMARY KEY, name TEXT, language TEXT, rating REAL);
INSERT INTO guides VALUES
(1, 'Lucas Rossi', 'French', 4.1),
(2, 'Hana Sato', 'English', 4.5),
(3, 'Nadia Quinn', 'Arabic', 4.1),
(4, 'Elena Weber', 'Arabic', 5),
(5, 'Greta Hassan', 'French', 3.7),
(6, 'Rosa Marin', 'Arabic', 4.2),
(7, 'Oscar Quinn', 'English', 4.9),
(8, 'Samuel Walsh', 'English', 4.6),
(9, 'Sofia Rossi', 'Arabic', 4.7),
(10, 'Elena Moreau', 'Arabic', 4.1),
(11, 'Lena Fischer', 'Arabic', 4.5),
(12, 'Lucas Silva', 'French', 4.7);

CREATE TABLE tours (id INTEGER PRIMARY KEY, title TEXT, guide_id INTEGER REFERENCES guides(id), price INTEGER, group_size INTEGER, season TEXT);
INSERT INTO tours VALUES
(1, 'Street Art', 12, 45, 32, 'spring'),
(2, 'Tower Climb', 8, 9, 21, 'spring'),
(3, 'Castle by Night', 1, 95, 11, 'winter'),
(4, 'Harbour Loop', 4, 47, 27, 'winter'),
(5, 'Wine Trail', 8, 26, 13, 'winter'),
(6, 'Hidden Courts', 4, 14, 28, 'spring'),
(7, 'Sunset Hike', 8, 24, 14, 'spring'),
(8, 'Roman Ruins', 3, 60, 16, 'spring'),
(9, 'River Cruise', 12, 18, 10, 'summer'),
(10, 'Museum Mile', 11, 78, 18, 'summer'),
(11, 'Ghost Tour', 12, 80, 8, 'summer'),
(12, 'Bike Tour', 1, 76, 22, 'summer'),
(13, 'Food Market', 12, 31, 37, 'spring'),
(14, 'Old Town Walk', 1, 25, 4, 'winter'),
(15, 'Royal Palaces', 8, 92, 33, 'summer'),
(16, 'Jewish Quarter', 4, 64, 35, 'spring');
