CREATE TABLE branches (id INTEGER PRIMARY KEY, name TEXT, city TEXT, counters INTEGER);
INSERT INTO branches VALUES
(1, 'Market Square', 'Lisbon', 4),
(2, 'Riverside', 'Oslo', 12),
(3, 'Old Town', 'Lima', 7),
(4, 'Station', 'Oslo', 2),
(5, 'University', 'Toronto', 12),
(6, 'North Gate', 'Vienna', 6),
(7, 'Harbour', 'Oslo', 10),
(8, 'West Park', 'Toronto', 14),
(9, 'Airport', 'Lima', 13),
(10, 'Central', 'Vienna', 2);

CREATE TABLE accounts (id INTEGER PRIMARY KEY, holder TEXT, branch_id INTEGER REFERENCES branches(id), account_type TEXT, balance INTEGER, opened_in INTEGER);
INSERT INTO accounts VALUES
(1, 'Emil Jansen', 8, 'business', 15800, 1997),
(2, 'Amara Brown', 6, 'business', 41350, 2010),
(3, 'Rosa Marin', 4, 'business', 9700, 2019),
(4, 'Sofia Rossi', 9, 'business', 24950, 2013),
(5, 'Nadia Quinn', 10, 'business', 12700, 1999),
(6, 'Maria Tanaka', 5, 'checking', 24350, 2011),
(7, 'Hugo Weber', 4, 'business', 21550, 2008),
(8, 'Samuel Cohen', 6, 'business', 26950, 2006),
(9, 'Amara Okafor', 9, 'business', 33050, 2009),
(10, 'Hugo Fischer', 9, 'checking', 10050, 2009),
(11, 'Victor Ortega', 5, 'savings', 13350, 2007),
(12, 'Emil Haddad', 10, 'business', 25050, 2014),
(13, 'Hana Sato', 10, 'checking', 30000, 2019),
(14, 'Ingrid Berg', 7, 'business', 3450, 1996),
(15, 'Aisha Khan', 5, 'savings', 41500, 2016),
(16, 'Leila Haddad', 4, 'checking', 27350, 1998),
(17, 'Peter Larsen', 7, 'checking', 7050, 2002),
(18, 'David Okafor', 6, 'savings', 1900, 2010);
