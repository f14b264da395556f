CREATE TABLE machines (id INTEGER PRIMARY KEY, name TEXT, line TEXT, installed INTEGER, power INTEGER, operator TEXT);
INSERT INTO machines VALUES
(1, 'Mixer Z', 'blue line', 1999, 345, 'Ingrid Jansen'),
(2, 'Roller X', 'blue line', 2010, 340, 'Kenji Marin'),
(3, 'Painter J', 'green line', 2013, 360, 'Felix Berg'),
(4, 'Packer 3', 'blue line', 2000, 45, NULL),
(5, 'Spinner 4', 'blue line', 2007, 105, 'Elena Weber'),
(6, 'Welder 5', 'green line', 2006, 195, 'Ivan Moreau'),
(7, 'Boiler 9', 'green line', 2013, 225, 'Emil Jansen'),
(8, 'Cutter 7', 'green line', 2004, 230, 'Amara Okafor'),
(9, 'Lathe Max', 'green line', 2005, 220, 'Zoe Silva'),
(10, 'Press One', 'red line', 2005, 155, 'Ingrid Berg'),
(11, 'Conveyor K', 'blue line', 2009, 300, NULL),
(12, 'Furnace 2', 'red line', 2015, 285, 'Victor Ortega'),
(13, 'Robot Arm B', 'green line', 2020, 315, 'Noah Adler'),
(14, 'Grinder Q', 'green line', 2005, 265, NULL);
