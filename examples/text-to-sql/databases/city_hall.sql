CREATE TABLE districts (id INTEGER PRIMARY KEY, name TEXT, population INTEGER, mayor TEXT);
INSERT INTO districts VALUES
(1, 'Greenhill', 47000, NULL),
(2, 'Elmwood', 60500, 'Greta Hassan'),
(3, 'Kings Cross', 65000, 'Tomas Kovacs'),
(4, 'Northfield', 14500, NULL),
(5, 'Riverton', 80000, 'Hana Larsen'),
(6, 'Westbrook', 84500, 'Amara Brown'),
(7, 'Millbank', 22500, 'Peter Sato'),
(8, 'Old Harbor', 27000, 'Leila Haddad'),
(9, 'Lakeside', 13000, 'Tomas Khan'),
(10, 'Ashford', 52500, 'Maria Tanaka');

CREATE TABLE parks (id INTEGER PRIMARY KEY, name TEXT, district_id INTEGER REFERENCES districts(id), hectares INTEGER, playground TEXT, opened_in INTEGER);
INSERT INTO parks VALUES
(1, 'Canal Park', 7, 66, 'rope', 2011),
(2, 'Star Garden', 2, 55, 'metal', 1932),
(3, 'Rose Park', 2, 54, NULL, 1903),
(4, 'Ivy Court', 2, 80, NULL, 1895),
(5, 'Bird Hill', 10, 88, 'metal', 1957),
(6, 'Union Park', 7, 49, 'wooden', 1900),
(7, 'Pine Grove', 2, 81, 'metal', 1998),
(8, 'Heath Park', 2, 7, 'metal', 1979),
(9, 'Oak Common', 9, 70, 'rope', 1990),
(10, 'Swan Lake Park', 10, 36, NULL, 2006),
(11, 'Willow Green', 5, 52, NULL, 1984),
(12, 'Castle Gardens', 5, 23, 'metal', 2012),
(13, 'Fountain Square', 5, 47, 'metal', 1993),
(14, 'Maple Field', 8, 18, 'rope', 1920),
(15, 'Sunny Meadow', 10, 6, 'rope', 1983),
(16, 'Linden Yard', 2, 45, 'wooden', 1898);
