CREATE TABLE trainers (trainer_id INTEGER PRIMARY KEY, name TEXT, sport TEXT, session_price INTEGER);
INSERT INTO trainers VALUES
(1, 'Omar Petrova', 'pilates', 25),
(2, 'Hugo Weber', 'yoga', 45),
(3, 'Aisha Khan', 'yoga', 80),
(4, 'Nadia Petrova', 'boxing', 65),
(5, 'Omar Hassan', 'pilates', 105),
(6, 'Maria Lopez', 'yoga', 30),
(7, 'Amara Brown', 'boxing', 115),
(8, 'Lucas Rossi', 'pilates', 120),
(9, 'Greta Hassan', 'yoga', 100),
(10, 'David Miller', 'yoga', 90),
(11, 'Rosa Ortega', 'boxing', 95),
(12, 'Maria Tanaka', 'pilates', 65);

CREATE TABLE gym_members (member_id INTEGER PRIMARY KEY, name TEXT, trainer_id INTEGER REFERENCES trainers(trainer_id), plan TEXT, weight INTEGER, phone TEXT, joined_on TEXT);
INSERT INTO gym_members VALUES
(1, 'Oscar Lindholm', 3, 'silver', 96, '555-5394', '2023-07-16'),
(2, 'Ingrid Berg', 6, 'gold', 68, NULL, '2020-10-04'),
(3, 'Omar Petrova', 3, 'silver', 59, '555-8815', '2020-09-11'),
(4, 'Kenji Tanaka', 3, 'silver', 85, '555-8193', '2024-12-18'),
(5, 'Priya Adler', 1, 'silver', 113, '555-3217', '2023-08-13'),
(6, 'Nadia Quinn', 8, 'basic', 109, '555-9437', '2024-09-15'),
(7, 'Nadia Petrova', 3, 'gold', 56, '555-2595', '2022-04-23'),
(8, 'Emil Jansen', 5, 'gold', 120, '555-1040', '2020-06-04'),
(9, 'Kenji Marin', 3, 'gold', 112, '555-6949', '2024-11-23'),
(10, 'Ivan Moreau', 7, 'silver', 118, '555-7571', '2019-06-24'),
(11, 'Zoe Silva', 8, 'gold', 110, '555-0418', '2023-02-19'),
(12, 'Greta Hassan', 9, 'basic', 94, '555-1973', '2020-03-26'),
(13, 'Zoe Walsh', 9, 'gold', 89, NULL, '2021-11-17'),
(14, 'Samuel Walsh', 7, 'basic', 119, NULL, '2022-10-31'),
(15, 'Clara Santos', 9, 'silver', 61, '555-6016', '2021-08-01'),
(16, 'Lucas Rossi', 10, 'basic', 82, '555-7882', '2022-04-02'),
(17, 'Victor Ortega', 10, 'gold', 53, '555-4150', '2024-03-28'),
(18, 'Hana Sato', 9, 'silver', 58, '555-4772', '2019-02-25');
