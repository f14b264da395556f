CREATE TABLE agents (id INTEGER PRIMARY KEY, name TEXT, region TEXT, commission REAL);
INSERT INTO agents VALUES
(1, 'Kenji Marin', 'north', 12),
(2, 'Lucas Silva', 'east', 15),
(3, 'Noah Adler', 'east', 3),
(4, 'Felix Dubois', 'west', 13.5),
(5, 'Ivan Novak', 'north', 4),
(6, 'Peter Larsen', 'east', 4.5),
(7, 'Omar Petrova', 'south', 12.5),
(8, 'Noah Sharma', 'north', 14),
(9, 'Clara Santos', 'west', 9),
(10, 'Ingrid Jansen', 'east', 8.5),
(11, 'Hugo Fischer', 'west', 5),
(12, 'Zoe Walsh', 'east', 7);

CREATE TABLE policies (id INTEGER PRIMARY KEY, policy_number TEXT, agent_id INTEGER REFERENCES agents(id), risk TEXT, premium INTEGER, valid_until TEXT);
INSERT INTO policies VALUES
(1, 'K2339', 2, 'health', 1900, '2023-04-18'),
(2, 'R8974', 3, 'travel', 220, '2026-01-23'),
(3, 'R6320', 12, 'car', 940, '2024-01-04'),
(4, 'R3666', 7, 'health', 1740, '2026-11-25'),
(5, 'K3666', 1, 'travel', 1420, '2026-12-17'),
(6, 'K8974', 2, 'home', 620, '2024-11-29'),
(7, 'K7647', 1, 'health', 660, '2026-02-21'),
(8, 'M7647', 6, 'travel', 2020, '2023-06-18'),
(9, 'M2339', 2, 'home', 140, '2025-11-10'),
(10, 'K1012', 10, 'travel', 960, '2026-01-27'),
(11, 'R2339', 12, 'home', 1840, '2027-06-06'),
(12, 'K4993', 7, 'home', 2080, '2023-09-19'),
(13, 'M8974', 1, 'health', 240, '2025-01-12'),
(14, 'M1012', 12, 'car', 1980, '2027-01-18'),
(15, 'R7647', 1, 'home', 1700, '2026-06-24'),
(16, 'R1012', 12, 'travel', 2040, '2027-01-14'),
(17, 'K6320', 7, 'car', 180, '2024-02-08'),
(18, 'R4993', 6, 'home', 1540, '2024-04-02');
