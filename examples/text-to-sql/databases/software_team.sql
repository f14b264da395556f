CREATE TABLE bugs (id INTEGER PRIMARY KEY, summary TEXT, component TEXT, severity TEXT, votes INTEGER, reported_on TEXT);
INSERT INTO bugs VALUES
(1, 'Typo in menu', 'editor', 'critical', 55, '2023-03-29'),
(2, 'Login loop', 'search', 'major', 10, '2022-05-21'),
(3, 'Missing icon', 'search', 'major', 19, '2023-02-27'),
(4, 'Lost session', 'search', 'critical', 38, '2023-02-15'),
(5, 'Time zone shift', 'billing', 'minor', 32, '2022-08-17'),
(6, 'Bad encoding', 'billing', 'minor', 65, '2022-02-02'),
(7, 'Double click', 'editor', 'minor', 77, '2023-02-10'),
(8, 'Wrong total', 'billing', 'minor', 74, '2022-06-18'),
(9, 'Dark mode flicker', 'editor', 'critical', 50, '2022-05-03'),
(10, 'Empty report', 'editor', 'minor', 35, '2022-02-18'),
(11, 'Memory leak', 'editor', 'minor', 8, '2022-05-31'),
(12, 'Slow search', 'editor', 'critical', 79, '2022-10-30'),
(13, 'Crash on save', 'editor', 'major', 45, '2024-09-23'),
(14, 'Broken link', 'billing', 'critical', 51, '2022-06-05');
