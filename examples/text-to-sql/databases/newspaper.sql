CREATE TABLE journalists (id INTEGER PRIMARY KEY, name TEXT, desk TEXT, hired TEXT);
INSERT INTO journalists VALUES
(1, 'Maria Lopez', 'politics', '2012-06-29'),
(2, 'Amara Brown', 'politics', '2013-07-05'),
(3, 'Elena Weber', 'sports', '2017-04-23'),
(4, 'Aisha Kovacs', 'sports', '2020-12-24'),
(5, 'Priya Adler', 'politics', '2020-11-28'),
(6, 'Samuel Walsh', 'culture', '2010-03-12'),
(7, 'Tomas Khan', 'sports', '2015-10-12'),
(8, 'Daniel Brown', 'culture', '2014-09-21'),
(9, 'Lena Fischer', 'politics', '2022-07-08'),
(10, 'Noah Sharma', 'sports', '2010-09-14'),
(11, 'Priya Sharma', 'culture', '2012-05-05'),
(12, 'Samuel Cohen', 'culture', '2009-03-05');

CREATE TABLE articles (id INTEGER PRIMARY KEY, headline TEXT, journalist_id INTEGER REFERENCES journalists(id), words INTEGER, comments INTEGER, published TEXT);
INSERT INTO articles VALUES
(1, 'Market Moves', 5, 1300, 228, '2022-09-07'),
(2, 'Bridge Reopens', 7, 2950, 54, '2023-01-29'),
(3, 'Old Mill Burns', 7, 700, 37, '2022-10-20'),
(4, 'Record Heat', 5, 2200, 323, '2022-09-18'),
(5, 'Museum Robbed', 8, 1050, 155, '2022-11-15'),
(6, 'Prices Rise Again', 8, 2150, 306, '2023-09-10'),
(7, 'Startup Sold', 2, 2050, 154, '2021-11-16'),
(8, 'School Strike Ends', 11, 1200, 73, '2023-02-06'),
(9, 'Mayor Resigns', 8, 2300, 223, '2022-01-18'),
(10, 'Storm Hits Coast', 8, 400, 229, '2024-11-14'),
(11, 'Film Prize Awarded', 7, 2250, 131, '2021-07-02'),
(12, 'Team Wins Cup', 8, 1350, 355, '2022-10-31'),
(13, 'New Tram Line', 5, 1500, 331, '2021-04-12'),
(14, 'River Floods Town', 4, 2400, 166, '2021-04-28');
