CREATE TABLE publishers (id INTEGER PRIMARY KEY, name TEXT, country TEXT, founded INTEGER);
INSERT INTO publishers VALUES
(1, 'Evergreen', 'Chile', 1964),
(2, 'Oakridge', 'Spain', 1995),
(3, 'Ironleaf', 'Chile', 1989),
(4, 'Goldfinch', 'Kenya', 1963),
(5, 'Suncrest', 'Spain', 1972),
(6, 'Stonegate', 'Chile', 1937),
(7, 'Brightway', 'Japan', 1966),
(8, 'Clearwater', 'Kenya', 1960),
(9, 'Silverline', 'Spain', 1953),
(10, 'Bluepeak', 'Japan', 1998),
(11, 'Northwind', 'Kenya', 1959),
(12, 'Riverton', 'Chile', 2010);

CREATE TABLE comics (id INTEGER PRIMARY KEY, title TEXT, publisher_id INTEGER REFERENCES publishers(id), issue INTEGER, cover_price REAL, condition TEXT);
INSERT INTO comics VALUES
(1, 'Turbo Girl', 1, 10, 5, 'good'),
(2, 'Steel Wing', 3, 59, 11.5, 'mint'),
(3, 'The Crimson Owl', 3, 4, 9, 'good'),
(4, 'Star Wardens', 12, 26, 4.5, 'good'),
(5, 'Doctor Static', 6, 22, 8, 'mint'),
(6, 'Lady Thunder', 5, 30, 5.5, 'mint'),
(7, 'Atomic Dog', 3, 62, 18, 'good'),
(8, 'Moon Rangers', 10, 67, 8.5, 'mint'),
(9, 'Galaxy Kids', 2, 8, 4, 'worn'),
(10, 'Captain Volt', 1, 46, 11, 'good'),
(11, 'Shadow League', 3, 25, 7, 'mint'),
(12, 'Robo Cat', 1, 58, 17.5, 'good'),
(13, 'Night Falcon', 5, 39, 9.5, 'worn'),
(14, 'Pixel Knights', 5, 82, 10, 'good'),
(15, 'The Green Ghost', 8, 55, 13.5, 'good'),
(16, 'The Iron Monk', 1, 89, 13, 'worn');
