CREATE TABLE exhibitors (id INTEGER PRIMARY KEY, name TEXT, hall TEXT, language TEXT, booth_size INTEGER, contact_street TEXT);
INSERT INTO exhibitors VALUES
(1, 'Redwood', 'Hall 1', 'Spanish', 88, NULL),
(2, 'Brightway', 'Hall 1', 'German', 92, NULL),
(3, 'Suncrest', 'Hall 3', 'Spanish', 44, NULL),
(4, 'Stonegate', 'Hall 2', 'German', 12, 'Oak Avenue'),
(5, 'Northwind', 'Hall 1', 'German', 54, 'King Street'),
(6, 'Bluepeak', 'Hall 2', 'Spanish', 36, 'Harbour Road'),
(7, 'Ironleaf', 'Hall 3', 'German', 60, 'Station Road'),
(8, 'Oakridge', 'Hall 2', 'English', 34, 'Mill Lane'),
(9, 'Starfield', 'Hall 3', 'English', 70, 'King Street'),
(10, 'Goldfinch', 'Hall 1', 'English', 48, 'Mill Lane'),
(11, 'Clearwater', 'Hall 1', 'Spanish', 6, 'King Street'),
(12, 'Silverline', 'Hall 3', 'Spanish', 76, 'Elm Street'),
(13, 'Evergreen', 'Hall 3', 'English', 94, 'Harbour Road'),
(14, 'Riverton', 'Hall 3', 'Spanish', 86, 'Station Road');
