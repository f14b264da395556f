CREATE TABLE realtors (id INTEGER PRIMARY KEY, name TEXT, office_city TEXT, licence_year INTEGER);
INSERT INTO realtors VALUES
(1, 'Lena Novak', 'Vienna', 2006),
(2, 'Noah Adler', 'Toronto', 2005),
(3, 'Amara Okafor', 'Osaka', 2003),
(4, 'Victor Lopez', 'Osaka', 2001),
(5, 'Zoe Walsh', 'Lima', 2017),
(6, 'Aisha Kovacs', 'Lima', 1998),
(7, 'Peter Sato', 'Vienna', 2013),
(8, 'Daniel Brown', 'Lima', 2011),
(9, 'Ivan Moreau', 'Toronto', 2012),
(10, 'Hana Sato', 'Lima', 1997),
(11, 'Peter Larsen', 'Toronto', 2009),
(12, 'Aisha Khan', 'Osaka', 2002);

CREATE TABLE houses (id INTEGER PRIMARY KEY, address TEXT, realtor_id INTEGER REFERENCES realtors(id), bedrooms INTEGER, asking_price INTEGER, heating TEXT);
INSERT INTO houses VALUES
(1, '17 Bridge Street', 8, 4, 715, 'heat pump'),
(2, '17 Elm Street', 3, 4, 945, 'heat pump'),
(3, '4 Church Lane', 1, 3, 125, 'oil'),
(4, '17 Station Road', 10, 5, 720, 'heat pump'),
(5, '17 Mill Lane', 1, 6, 250, 'heat pump'),
(6, '4 Harbour Road', 1, 1, 705, 'oil'),
(7, '4 Bridge Street', 1, 5, 400, 'gas'),
(8, '4 Station Road', 3, 1, 240, 'oil'),
(9, '17 Park Row', 3, 6, 420, 'heat pump'),
(10, '4 King Street', 1, 2, 890, 'oil'),
(11, '17 Church Lane', 1, 4, 160, 'heat pump'),
(12, '4 Park Row', 8, 2, 970, 'oil'),
(13, '4 Elm Street', 8, 4, 860, 'heat pump'),
(14, '4 Oak Avenue', 11, 2, 710, 'oil'),
(15, '4 Hill Road', 3, 1, 530, 'heat pump'),
(16, '17 Harbour Road', 1, 2, 760, 'gas'),
(17, '4 Mill Lane', 8, 1, 835, 'oil'),
(18, '17 Oak Avenue', 8, 2, 885, 'gas');
