CREATE TABLE departments (id INTEGER PRIMARY KEY, name TEXT, building TEXT, budget INTEGER);
INSERT INTO departments VALUES
(1, 'Research', 'B', 110),
(2, 'Security', 'C', 130),
(3, 'Marketing', 'A', 560),
(4, 'Finance', 'B', 800),
(5, 'Design', 'B', 770),
(6, 'Purchasing', 'B', 250),
(7, 'Legal', 'C', 870),
(8, 'Sales', 'A', 610),
(9, 'Logistics', 'B', 760),
(10, 'Support', 'A', 90);

CREATE TABLE employees (id INTEGER PRIMARY KEY, name TEXT, department_id INTEGER REFERENCES departments(id), job_title TEXT, salary INTEGER, hired_on TEXT);
INSERT INTO employees VALUES
(1, 'Hugo Weber', 8, 'clerk', 9000, '2021-06-02'),
(2, 'Lucas Rossi', 5, 'analyst', 6600, '2015-12-05'),
(3, 'Peter Larsen', 4, 'engineer', 7800, '2016-11-25'),
(4, 'Sofia Rossi', 5, 'engineer', 2300, '2023-07-10'),
(5, 'Nadia Petrova', 5, 'clerk', 5500, '2023-09-25'),
(6, 'Tomas Kovacs', 9, 'engineer', 4900, '2015-09-16'),
(7, 'Priya Sharma', 7, 'engineer', 8400, '2017-02-27'),
(8, 'Sofia Cohen', 2, 'engineer', 7100, '2016-02-18'),
(9, 'Daniel Brown', 5, 'engineer', 7200, '2019-12-09'),
(10, 'Victor Ortega', 5, 'engineer', 9500, '2022-09-01'),
(11, 'Samuel Walsh', 9, 'clerk', 5100, '2019-07-17'),
(12, 'Amara Okafor', 5, 'analyst', 2200, '2010-01-04'),
(13, 'Ivan Moreau', 7, 'manager', 5300, '2023-02-23'),
(14, 'Elena Weber', 7, 'engineer', 2100, '2014-12-09'),
(15, 'Hana Larsen', 5, 'manager', 3200, '2012-08-19'),
(16, 'Aisha Kovacs', 5, 'analyst', 8600, '2016-01-21'),
(17, 'Greta Lindholm', 7, 'clerk', 4300, '2023-02-01'),
(18, 'Omar Petrova', 1, 'analyst', 2400, '2014-05-15');
