CREATE TABLE translators (id INTEGER PRIMARY KEY, name TEXT, mother_tongue TEXT, line_rate REAL);
INSERT INTO translators VALUES
(1, 'David Okafor', 'Polish', 2.3),
(2, 'Omar Hassan', 'Greek', 1.9),
(3, 'Hugo Weber', 'Portuguese', 6.7),
(4, 'Kenji Marin', 'Polish', 8.7),
(5, 'Amara Okafor', 'Portuguese', 3.9),
(6, 'Omar Petrova', 'Korean', 2.9),
(7, 'Sofia Rossi', 'Greek', 8.4),
(8, 'Peter Sato', 'Greek', 5.7),
(9, 'Emil Haddad', 'Greek', 6.3),
(10, 'Felix Dubois', 'Korean', 3.1),
(11, 'Samuel Cohen', 'Korean', 6),
(12, 'Aisha Kovacs', 'Portuguese', 4.9);

CREATE TABLE manuscripts (id INTEGER PRIMARY KEY, working_title TEXT, translator_id INTEGER REFERENCES translators(id), target_language TEXT, sheets INTEGER, due_on TEXT);
INSERT INTO manuscripts VALUES
(1, 'The Wool Trade', 2, 'Hungarian', 355, '2024-12-29'),
(2, 'Sea Grammar', 6, 'Hungarian', 460, '2024-09-27'),
(3, 'Iron Songs', 5, 'Hungarian', 185, '2024-04-04'),
(4, 'The Map Room', 2, 'Czech', 555, '2024-05-08'),
(5, 'Clouds', 5, 'Danish', 490, '2024-05-02'),
(6, 'Garden Almanac', 2, 'Hungarian', 545, '2025-08-08'),
(7, 'Rope and Tar', 12, 'Danish', 465, '2025-04-08'),
(8, 'First Harvest', 2, 'Czech', 225, '2025-08-07'),
(9, 'Ink', 6, 'Danish', 500, '2026-11-08'),
(10, 'The Orchard Book', 6, 'Czech', 305, '2026-01-15'),
(11, 'Ports of Call', 2, 'Danish', 515, '2026-09-14'),
(12, 'On Bridges', 2, 'Hungarian', 195, '2025-07-30'),
(13, 'Bees and Kings', 12, 'Danish', 480, '2026-11-11'),
(14, 'Deep Snow', 5, 'Czech', 60, '2025-12-07'),
(15, 'Letters Home', 5, 'Hungarian', 90, '2025-06-05'),
(16, 'Salt Tales', 8, 'Hungarian', 260, '2024-05-13');
