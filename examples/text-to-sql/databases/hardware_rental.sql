CREATE TABLE tools (id INTEGER PRIMARY KEY, name TEXT, power_source TEXT, daily_fee INTEGER, deposit INTEGER, last_service TEXT);
INSERT INTO tools VALUES
(1, 'Sander', 'mains', 26, 110, '2022-08-27'),
(2, 'Jackhammer', 'battery', 9, 320, '2021-06-20'),
(3, 'Scaffold', 'mains', 42, 160, '2023-01-14'),
(4, 'Leaf Blower', 'petrol', 18, 400, '2023-06-13'),
(5, 'Pressure Washer', 'battery', 30, 510, NULL),
(6, 'Cement Mixer', 'battery', 65, 380, '2022-09-23'),
(7, 'Generator', 'battery', 115, 170, '2023-06-28'),
(8, 'Chain Saw', 'battery', 28, 100, '2021-07-02'),
(9, 'Drill Press', 'battery', 79, 550, '2024-08-25'),
(10, 'Lawn Mower', 'battery', 102, 220, '2023-08-04'),
(11, 'Tile Cutter', 'mains', 118, 200, NULL),
(12, 'Heat Gun', 'petrol', 88, 560, '2024-07-05'),
(13, 'Winch', 'petrol', 37, 540, NULL),
(14, 'Nail Gun', 'mains', 73, 350, '2024-04-13');
