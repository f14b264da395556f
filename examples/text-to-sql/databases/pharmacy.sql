CREATE TABLE drug_makers (id INTEGER PRIMARY KEY, name TEXT, country TEXT, patents INTEGER);
INSERT INTO drug_makers VALUES
(1, 'Goldfinch', 'Spain', 45),
(2, 'Evergreen', 'Japan', 80),
(3, 'Clearwater', 'Spain', 114),
(4, 'Brightway', 'Japan', 115),
(5, 'Oakridge', 'Japan', 4),
(6, 'Riverton', 'Spain', 3),
(7, 'Ironleaf', 'Chile', 74),
(8, 'Silverline', 'Kenya', 67),
(9, 'Bluepeak', 'Kenya', 101),
(10, 'Stonegate', 'Chile', 116),
(11, 'Suncrest', 'Japan', 108),
(12, 'Northwind', 'Chile', 47);

CREATE TABLE medicines (id INTEGER PRIMARY KEY, name TEXT, drug_maker_id INTEGER REFERENCES drug_makers(id), form TEXT, dose INTEGER, expires TEXT);
INSERT INTO medicines VALUES
(1, 'Respira', 2, 'tablet', 440, '2026-08-22'),
(2, 'Somnex', 11, 'tablet', 605, '2026-11-07'),
(3, 'Calmex', 11, 'tablet', 665, '2027-08-03'),
(4, 'Hepatin', 7, 'tablet', 380, '2024-12-15'),
(5, 'Pulmovent', 9, 'syrup', 675, '2027-11-24'),
(6, 'Nasofree', 1, 'syrup', 735, '2027-05-10'),
(7, 'Tussilin', 3, 'tablet', 425, '2025-12-01'),
(8, 'Gastrol', 11, 'tablet', 260, '2024-06-11'),
(9, 'Lumivit', 1, 'cream', 195, '2027-07-09'),
(10, 'Immunol', 12, 'tablet', 175, '2024-05-23'),
(11, 'Ketalin', 1, 'cream', 55, '2027-06-09'),
(12, 'Optilex', 11, 'tablet', 230, '2028-12-26'),
(13, 'Quietal', 2, 'syrup', 620, '2027-11-05'),
(14, 'Fevrosan', 11, 'tablet', 745, '2027-09-29'),
(15, 'Migrastop', 11, 'tablet', 590, '2027-08-23'),
(16, 'Dolorin', 7, 'cream', 775, '2028-07-18');
