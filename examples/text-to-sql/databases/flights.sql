CREATE TABLE airlines (id INTEGER PRIMARY KEY, name TEXT, country TEXT, fleet_size INTEGER);
INSERT INTO airlines VALUES
(1, 'Sunjet', 'Spain', 154),
(2, 'Pacific Star', 'Japan', 136),
(3, 'Condor Sky', 'Kenya', 120),
(4, 'Trans Alps', 'Spain', 42),
(5, 'Polar Air', 'Japan', 148),
(6, 'Northlink', 'Chile', 106),
(7, 'Blue Wings', 'Japan', 216),
(8, 'Red Kite Air', 'Chile', 160),
(9, 'Gulf Swift', 'Kenya', 34),
(10, 'Aero Lusa', 'Kenya', 210);

CREATE TABLE flights (id INTEGER PRIMARY KEY, flight_number TEXT, airline_id INTEGER REFERENCES airlines(id), origin TEXT, destination TEXT, distance INTEGER, fare INTEGER);
INSERT INTO flights VALUES
(1, 'SJ700', 9, 'Toronto', 'Prague', 1250, 290),
(2, 'PA849', 5, 'Vienna', 'Osaka', 3200, 255),
(3, 'SJ551', 7, 'Oslo', 'Osaka', 9350, 65),
(4, 'SJ849', 7, 'Oslo', 'Osaka', 2900, 690),
(5, 'SJ253', 6, 'Vienna', 'Osaka', 8350, 460),
(6, 'PA402', 9, 'Toronto', 'Lima', 500, 450),
(7, 'BW700', 9, 'Oslo', 'Osaka', 8100, 315),
(8, 'BW253', 9, 'Toronto', 'Lima', 3300, 230),
(9, 'PA700', 9, 'Vienna', 'Dublin', 6300, 145),
(10, 'BW551', 9, 'Oslo', 'Lima', 2250, 350),
(11, 'PA253', 6, 'Lisbon', 'Dublin', 4800, 480),
(12, 'SJ104', 10, 'Oslo', 'Dublin', 3150, 435),
(13, 'BW402', 7, 'Lisbon', 'Osaka', 5100, 670),
(14, 'PA551', 3, 'Lisbon', 'Dublin', 3800, 800),
(15, 'SJ402', 6, 'Oslo', 'Osaka', 1800, 365),
(16, 'BW104', 9, 'Oslo', 'Prague', 7850, 575),
(17, 'PA104', 2, 'Toronto', 'Lima', 2450, 180),
(18, 'BW849', 10, 'Lisbon', 'Lima', 1500, 755);
