CREATE TABLE wards (ward_id INTEGER PRIMARY KEY, name TEXT, wing TEXT, beds INTEGER);
INSERT INTO wards VALUES
(1, 'Maternity', 'north', 17),
(2, 'Cardiology', 'east', 21),
(3, 'Urology', 'east', 12),
(4, 'Burns', 'east', 29),
(5, 'Trauma', 'north', 31),
(6, 'Neurology', 'east', 33),
(7, 'Geriatrics', 'east', 18),
(8, 'Surgery', 'north', 36),
(9, 'Pediatrics', 'north', 40),
(10, 'Oncology', 'west', 39);

CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, name TEXT, ward_id INTEGER REFERENCES wards(ward_id), age INTEGER, blood_type TEXT, admitted TEXT);
INSERT INTO patients VALUES
(1, 'Elena Moreau', 8, 85, 'AB', '2024-04-16'),
(2, 'Sofia Cohen', 8, 42, 'AB', '2024-06-11'),
(3, 'Peter Sato', 1, 74, 'B', '2024-02-20'),
(4, 'Omar Hassan', 1, 15, 'AB', '2023-04-08'),
(5, 'Victor Lopez', 7, 13, 'A', '2023-02-12'),
(6, 'David Miller', 8, 3, 'B', '2023-09-07'),
(7, 'Nadia Petrova', 8, 27, 'O', '2024-10-12'),
(8, 'Sofia Rossi', 9, 38, 'AB', '2023-03-06'),
(9, 'Lucas Rossi', 1, 87, 'A', '2024-04-22'),
(10, 'Nadia Quinn', 7, 54, 'AB', '2023-02-04'),
(11, 'Greta Lindholm', 6, 51, 'AB', '2024-12-06'),
(12, 'Tomas Khan', 8, 72, 'A', '2024-12-15'),
(13, 'Clara Santos', 1, 86, 'O', '2023-07-03'),
(14, 'Oscar Quinn', 6, 49, 'B', '2024-04-18'),
(15, 'Maria Tanaka', 8, 53, 'O', '2024-01-31'),
(16, 'Aisha Khan', 10, 95, 'B', '2024-07-26'),
(17, 'Daniel Brown', 9, 31, 'B', '2024-11-27'),
(18, 'Lucas Silva', 10, 8, 'AB', '2024-11-09');
