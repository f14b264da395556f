CREATE TABLE lawyers (id INTEGER PRIMARY KEY, name TEXT, field TEXT, hourly_rate INTEGER);
INSERT INTO lawyers VALUES
(1, 'Nadia Petrova', 'criminal', 300),
(2, 'Victor Lopez', 'tax', 270),
(3, 'Tomas Kovacs', 'tax', 450),
(4, 'Oscar Lindholm', 'family', 550),
(5, 'Sofia Rossi', 'family', 490),
(6, 'Hana Sato', 'criminal', 260),
(7, 'Zoe Walsh', 'family', 530),
(8, 'Leila Haddad', 'family', 280),
(9, 'Amara Okafor', 'tax', 350),
(10, 'Rosa Ortega', 'criminal', 410),
(11, 'Peter Sato', 'tax', 340),
(12, 'Priya Sharma', 'tax', 310);

CREATE TABLE court_cases (id INTEGER PRIMARY KEY, file_number TEXT, lawyer_id INTEGER REFERENCES lawyers(id), outcome TEXT, opened TEXT, hearings INTEGER);
INSERT INTO court_cases VALUES
(1, 'K8974', 7, NULL, '2019-11-18', 14),
(2, 'K4993', 6, 'won', '2023-06-16', 16),
(3, 'R1012', 1, 'lost', '2018-07-07', 16),
(4, 'M3666', 5, 'settled', '2022-07-24', 4),
(5, 'M1012', 1, 'won', '2021-05-19', 13),
(6, 'R2339', 11, 'settled', '2022-10-29', 10),
(7, 'R3666', 11, 'settled', '2019-06-17', 12),
(8, 'K7647', 7, NULL, '2022-10-11', 1),
(9, 'M8974', 9, 'settled', '2022-06-07', 9),
(10, 'M6320', 11, 'won', '2018-06-23', 19),
(11, 'M7647', 7, 'lost', '2019-04-02', 8),
(12, 'R7647', 5, 'lost', '2021-03-15', 14),
(13, 'K1012', 9, 'won', '2019-12-06', 2),
(14, 'M2339', 5, NULL, '2018-05-19', 7),
(15, 'R6320', 11, 'lost', '2022-08-12', 14),
(16, 'K3666', 11, NULL, '2016-07-23', 14),
(17, 'R4993', 5, NULL, '2023-06-09', 6),
(18, 'R8974', 6, 'lost', '2021-02-25', 16);
