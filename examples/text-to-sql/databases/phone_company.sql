CREATE TABLE tariffs (id INTEGER PRIMARY KEY, name TEXT, monthly_fee INTEGER, data_volume INTEGER);
INSERT INTO tariffs VALUES
(1, 'Weekend', 30, 43),
(2, 'Traveller', 56, 30),
(3, 'Flex', 63, 66),
(4, 'Family', 26, 172),
(5, 'Max', 13, 63),
(6, 'Pro', 72, 162),
(7, 'Start', 47, 129),
(8, 'Senior', 51, 124),
(9, 'Student', 43, 133),
(10, 'Smart', 11, 106);

CREATE TABLE subscribers (id INTEGER PRIMARY KEY, name TEXT, tariff_id INTEGER REFERENCES tariffs(id), town TEXT, calls INTEGER, since_year INTEGER);
INSERT INTO subscribers VALUES
(1, 'Maria Lopez', 2, 'Dublin', 326, 2011),
(2, 'Oscar Quinn', 2, 'Lima', 268, 2019),
(3, 'Leila Haddad', 3, 'Prague', 172, 2014),
(4, 'Lena Novak', 2, 'Osaka', 386, 2011),
(5, 'Samuel Cohen', 2, 'Lima', 373, 2018),
(6, 'Clara Miller', 3, 'Prague', 96, 2012),
(7, 'Daniel Santos', 7, 'Prague', 197, 2020),
(8, 'Ingrid Berg', 2, 'Dublin', 45, 2017),
(9, 'Omar Hassan', 6, 'Dublin', 106, 2012),
(10, 'Hugo Fischer', 3, 'Lima', 177, 2018),
(11, 'Priya Sharma', 3, 'Lima', 119, 2010),
(12, 'Tomas Khan', 2, 'Prague', 355, 2013),
(13, 'Sofia Cohen', 5, 'Lima', 259, 2013),
(14, 'Lucas Silva', 2, 'Dublin', 252, 2021),
(15, 'Aisha Khan', 3, 'Osaka', 47, 2020),
(16, 'Noah Adler', 2, 'Lima', 262, 2018),
(17, 'Victor Lopez', 10, 'Osaka', 324, 2019),
(18, 'David Miller', 3, 'Dublin', 374, 2014);
