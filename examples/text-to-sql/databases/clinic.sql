CREATE TABLE doctors (id INTEGER PRIMARY KEY, name TEXT, specialty TEXT, fee INTEGER);
INSERT INTO doctors VALUES
(1, 'Greta Lindholm', 'dermatology', 215),
(2, 'Aisha Kovacs', 'dermatology', 205),
(3, 'Greta Hassan', 'cardiology', 235),
(4, 'Daniel Santos', 'orthopedics', 180),
(5, 'Leila Haddad', 'dermatology', 75),
(6, 'Ivan Novak', 'dermatology', 185),
(7, 'Tomas Kovacs', 'cardiology', 220),
(8, 'David Miller', 'orthopedics', 150),
(9, 'Zoe Silva', 'cardiology', 140),
(10, 'Ingrid Berg', 'cardiology', 90),
(11, 'Hugo Fischer', 'dermatology', 250),
(12, 'Elena Weber', 'orthopedics', 45);

CREATE TABLE appointments (id INTEGER PRIMARY KEY, code TEXT, doctor_id INTEGER REFERENCES doctors(id), reason TEXT, minutes INTEGER, scheduled TEXT);
INSERT INTO appointments VALUES
(1, 'V349', 7, 'vaccination', 90, '2025-02-26'),
(2, 'V534', 3, 'vaccination', 15, '2023-09-28'),
(3, 'V423', 2, 'vaccination', 15, '2023-05-08'),
(4, 'V867', 7, 'checkup', 65, '2023-12-17'),
(5, 'V608', 11, 'vaccination', 70, '2025-11-23'),
(6, 'V719', 7, 'pain', 30, '2025-03-31'),
(7, 'V978', 8, 'pain', 10, '2024-07-20'),
(8, 'V386', 11, 'pain', 10, '2023-07-02'),
(9, 'V645', 7, 'vaccination', 35, '2023-06-28'),
(10, 'V682', 3, 'vaccination', 80, '2023-10-02'),
(11, 'V497', 7, 'checkup', 80, '2025-12-24'),
(12, 'V238', 7, 'checkup', 80, '2023-08-10'),
(13, 'V904', 7, 'checkup', 25, '2024-08-31'),
(14, 'V941', 12, 'vaccination', 90, '2025-01-29'),
(15, 'V571', 5, 'vaccination', 50, '2025-04-14'),
(16, 'V830', 7, 'vaccination', 20, '2024-06-07'),
(17, 'V793', 7, 'checkup', 20, '2024-05-20'),
(18, 'V201', 7, 'checkup', 75, '2023-11-21');
