CREATE TABLE shows (id INTEGER PRIMARY KEY, name TEXT, topic TEXT, host TEXT);
INSERT INTO shows VALUES
(1, 'Deep Roots', 'food', 'Sofia Rossi'),
(2, 'Code Breakers', 'food', 'Kenji Marin'),
(3, 'The Night Desk', 'history', 'Clara Santos'),
(4, 'Money Minutes', 'food', 'Felix Dubois'),
(5, 'Hidden Maps', 'food', 'Ingrid Jansen'),
(6, 'Small Talk', 'business', 'Leila Haddad'),
(7, 'Daily Orbit', 'food', 'Oscar Lindholm'),
(8, 'History Lane', 'business', 'Greta Hassan'),
(9, 'Green Thumbs', 'science', 'Greta Lindholm'),
(10, 'Kitchen Talk', 'business', 'Priya Adler');

CREATE TABLE episodes (id INTEGER PRIMARY KEY, title TEXT, show_id INTEGER REFERENCES shows(id), aired TEXT, duration INTEGER, downloads INTEGER);
INSERT INTO episodes VALUES
(1, 'Pilot', 5, '2023-05-18', 41, 15500),
(2, 'Royal Secrets', 10, '2023-10-11', 66, 71600),
(3, 'Garage Start', 10, '2023-01-21', 68, 57500),
(4, 'Bread and Butter', 2, '2023-10-13', 73, 33000),
(5, 'Black Holes', 8, '2022-05-31', 62, 85000),
(6, 'The Long Walk', 10, '2023-05-30', 78, 70400),
(7, 'Spice Routes', 10, '2023-05-20', 70, 41800),
(8, 'Street Food', 2, '2024-02-07', 86, 47200),
(9, 'Second Chances', 3, '2021-09-29', 119, 37200),
(10, 'The Big Freeze', 8, '2023-12-02', 61, 89300),
(11, 'Open Questions', 5, '2020-01-18', 117, 82500),
(12, 'Lost Cities', 8, '2022-07-28', 34, 15800),
(13, 'Bull Market', 10, '2020-03-01', 108, 56000),
(14, 'Ocean Floor', 10, '2022-06-11', 46, 65300),
(15, 'Fungi', 8, '2020-04-28', 120, 66100),
(16, 'The Vault', 10, '2024-06-15', 110, 9500);
