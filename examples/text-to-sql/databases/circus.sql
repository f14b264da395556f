CREATE TABLE troupes (troupe_id INTEGER PRIMARY KEY, name TEXT, winter_quarters TEXT, wagons INTEGER);
INSERT INTO troupes VALUES
(1, 'Sawdust Kings', 'Osaka', 55),
(2, 'Cirque Lune', 'Osaka', 57),
(3, 'Golden Ring', 'Dublin', 39),
(4, 'Fire Wheel', 'Nairobi', 34),
(5, 'Tivoli', 'Nairobi', 52),
(6, 'Velvet Tent', 'Osaka', 48),
(7, 'Moon Riders', 'Dublin', 44),
(8, 'Big Top Brothers', 'Prague', 35),
(9, 'Red Nose', 'Prague', 30),
(10, 'Flying Stars', 'Prague', 43);

CREATE TABLE performers (performer_id INTEGER PRIMARY KEY, stage_name TEXT, troupe_id INTEGER REFERENCES troupes(troupe_id), discipline TEXT, weekly_wage INTEGER, debut INTEGER);
INSERT INTO performers VALUES
(1, 'Leila Dubois', 9, 'clowning', 1240, 1998),
(2, 'Nadia Petrova', 9, 'magic', 1080, 2011),
(3, 'Victor Ortega', 7, 'trapeze', 710, 2009),
(4, 'David Miller', 2, 'magic', 220, 2021),
(5, 'Emil Haddad', 5, 'juggling', 1320, 2006),
(6, 'Amara Okafor', 3, 'juggling', 700, 2010),
(7, 'Kenji Tanaka', 2, 'juggling', 980, 1993),
(8, 'Lucas Rossi', 3, 'clowning', 300, 1993),
(9, 'Daniel Santos', 2, 'juggling', 830, 2015),
(10, 'Daniel Brown', 7, 'magic', 390, 2012),
(11, 'Noah Sharma', 7, 'magic', 370, 2015),
(12, 'Hugo Fischer', 10, 'magic', 1270, 2000),
(13, 'Oscar Lindholm', 2, 'clowning', 1230, 1991),
(14, 'Priya Sharma', 7, 'magic', 530, 2015),
(15, 'Sofia Cohen', 7, 'magic', 920, 2001),
(16, 'Elena Moreau', 7, 'magic', 590, 2015),
(17, 'Greta Hassan', 3, 'magic', 450, 2004),
(18, 'Hana Larsen', 10, 'trapeze', 1010, 2013);
