CREATE TABLE employers (id INTEGER PRIMARY KEY, name TEXT, industry TEXT, employees INTEGER);
INSERT INTO employers VALUES
(1, 'Ironleaf', 'media', 3240),
(2, 'Stonegate', 'media', 2740),
(3, 'Silverline', 'media', 1730),
(4, 'Goldfinch', 'energy', 1180),
(5, 'Bluepeak', 'media', 3260),
(6, 'Redwood', 'media', 4540),
(7, 'Oakridge', 'energy', 4340),
(8, 'Northwind', 'retail', 3980),
(9, 'Starfield', 'energy', 3570),
(10, 'Clearwater', 'retail', 4530),
(11, 'Brightway', 'energy', 4300),
(12, 'Suncrest', 'media', 4240);

CREATE TABLE vacancies (id INTEGER PRIMARY KEY, position TEXT, employer_id INTEGER REFERENCES employers(id), contract TEXT, monthly_pay INTEGER, applicants INTEGER);
INSERT INTO vacancies VALUES
(1, 'Security Guard', 1, 'freelance', 2200, 51),
(2, 'Electrician', 2, 'full-time', 2700, 33),
(3, 'Data Analyst', 2, 'freelance', 1800, 135),
(4, 'Cook', 7, 'part-time', 2800, 64),
(5, 'Sales Assistant', 1, 'part-time', 4100, 86),
(6, 'Nurse', 6, 'full-time', 2400, 50),
(7, 'Cleaner', 1, 'freelance', 5400, 78),
(8, 'Plumber', 1, 'part-time', 1200, 96),
(9, 'Receptionist', 9, 'full-time', 4800, 112),
(10, 'Tax Adviser', 8, 'full-time', 4600, 80),
(11, 'Driver', 3, 'part-time', 2300, 114),
(12, 'Web Developer', 7, 'part-time', 3500, 39),
(13, 'Architect', 7, 'full-time', 5600, 66),
(14, 'Lab Assistant', 1, 'freelance', 1900, 28),
(15, 'Accountant', 1, 'part-time', 6200, 25),
(16, 'Copywriter', 1, 'freelance', 2600, 27);
