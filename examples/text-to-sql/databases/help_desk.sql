CREATE TABLE technicians (id INTEGER PRIMARY KEY, name TEXT, shift TEXT, certificates INTEGER);
INSERT INTO technicians VALUES
(1, 'Leila Haddad', 'night', 4),
(2, 'Nadia Petrova', 'evening', 7),
(3, 'Ivan Moreau', 'evening', 4),
(4, 'Omar Petrova', 'night', 6),
(5, 'Lucas Rossi', 'morning', 8),
(6, 'Emil Jansen', 'night', 9),
(7, 'Sofia Rossi', 'evening', 1),
(8, 'Victor Lopez', 'morning', 9),
(9, 'Noah Adler', 'evening', 3),
(10, 'Greta Lindholm', 'evening', 1),
(11, 'Felix Dubois', 'morning', 3),
(12, 'Rosa Ortega', 'night', 2);

CREATE TABLE tickets (id INTEGER PRIMARY KEY, subject TEXT, technician_id INTEGER REFERENCES technicians(id), priority TEXT, hours_spent REAL, closed_on TEXT);
INSERT INTO tickets VALUES
(1, 'Broken screen', 3, 'urgent', 4, '2023-12-17'),
(2, 'No sound', 5, 'low', 19.5, NULL),
(3, 'App crash', 6, 'normal', 8.5, '2024-04-30'),
(4, 'Password reset', 6, 'normal', 3, '2024-12-12'),
(5, 'Paper jam', 1, 'normal', 16.5, '2023-10-05'),
(6, 'VPN error', 6, 'low', 0.5, NULL),
(7, 'Phone locked', 6, 'normal', 9, '2024-06-01'),
(8, 'Update stuck', 6, 'normal', 13, '2024-01-08'),
(9, 'Lost badge', 5, 'urgent', 15, NULL),
(10, 'Slow laptop', 11, 'low', 7, '2023-12-20'),
(11, 'Backup failed', 1, 'low', 6.5, '2024-06-19'),
(12, 'Full disk', 4, 'urgent', 2.5, '2023-05-09'),
(13, 'Wifi drops', 6, 'urgent', 20, '2023-03-07'),
(14, 'New account', 10, 'low', 7.5, '2023-03-20'),
(15, 'Mail missing', 4, 'low', 1.5, '2024-05-10'),
(16, 'Printer offline', 6, 'urgent', 11.5, '2024-03-17');
