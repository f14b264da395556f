CREATE TABLE donors (id INTEGER PRIMARY KEY, name TEXT, city TEXT, donor_group TEXT);
INSERT INTO donors VALUES
(1, 'Noah Sharma', 'Lima', 'private'),
(2, 'Nadia Quinn', 'Oslo', 'private'),
(3, 'Noah Adler', 'Toronto', 'company'),
(4, 'Clara Santos', 'Toronto', 'company'),
(5, 'Greta Lindholm', 'Oslo', 'private'),
(6, 'Samuel Cohen', 'Vienna', 'company'),
(7, 'Oscar Lindholm', 'Lima', 'company'),
(8, 'Clara Miller', 'Lisbon', 'foundation'),
(9, 'David Miller', 'Lisbon', 'company'),
(10, 'Elena Moreau', 'Toronto', 'private'),
(11, 'Nadia Petrova', 'Lima', 'private'),
(12, 'Priya Adler', 'Lima', 'foundation');

CREATE TABLE donations (id INTEGER PRIMARY KEY, receipt TEXT, donor_id INTEGER REFERENCES donors(id), amount INTEGER, purpose TEXT, received TEXT);
INSERT INTO donations VALUES
(1, 'R-5001', 11, 3080, 'water', '2021-04-09'),
(2, 'R-6300', 12, 2680, 'forest', '2024-01-27'),
(3, 'R-9331', 9, 380, 'water', '2020-11-29'),
(4, 'R-8465', 10, 3750, 'forest', '2021-09-19'),
(5, 'R-6733', 5, 4400, 'forest', '2024-08-16'),
(6, 'R-7599', 1, 2920, 'forest', '2020-03-11'),
(7, 'R-1104', 3, 1920, 'water', '2024-01-22'),
(8, 'R-8032', 9, 1480, 'forest', '2022-02-27'),
(9, 'R-5867', 4, 3520, 'schools', '2022-09-15'),
(10, 'R-5434', 10, 700, 'water', '2024-05-16'),
(11, 'R-3269', 11, 3070, 'schools', '2023-09-30'),
(12, 'R-1970', 9, 2420, 'water', '2023-01-21'),
(13, 'R-1537', 1, 10, 'schools', '2023-03-04'),
(14, 'R-3702', 6, 2600, 'water', '2022-09-20'),
(15, 'R-4135', 6, 1290, 'water', '2023-04-25'),
(16, 'R-4568', 10, 4060, 'forest', '2024-06-17'),
(17, 'R-7166', 6, 1210, 'forest', '2020-09-25'),
(18, 'R-2836', 5, 4750, 'water', '2022-01-28');
