CREATE TABLE car_makers (id INTEGER PRIMARY KEY, name TEXT, country TEXT, founded INTEGER);
INSERT INTO car_makers VALUES
(1, 'Estrella', 'Chile', 1977),
(2, 'Falcar', 'Japan', 1949),
(3, 'Istra', 'Japan', 1959),
(4, 'Gromin', 'Kenya', 1955),
(5, 'Altera', 'Kenya', 1915),
(6, 'Dynamo', 'Chile', 1923),
(7, 'Jovian', 'Chile', 1902),
(8, 'Helion', 'Spain', 1954),
(9, 'Corvex', 'Japan', 1995),
(10, 'Borealis', 'Chile', 1970);

CREATE TABLE cars (id INTEGER PRIMARY KEY, model TEXT, maker_id INTEGER REFERENCES car_makers(id), fuel TEXT, horsepower INTEGER, price INTEGER);
INSERT INTO cars VALUES
(1, 'Pulse', 10, 'petrol', 340, 42500),
(2, 'Metro', 10, 'petrol', 70, 8000),
(3, 'Orbit', 2, 'electric', 180, 42000),
(4, 'Rally', 2, 'electric', 135, 49000),
(5, 'Titan', 2, 'petrol', 165, 70500),
(6, 'Aurora', 9, 'petrol', 330, 50000),
(7, 'Lynx', 2, 'electric', 250, 17500),
(8, 'Breeze', 9, 'petrol', 300, 10500),
(9, 'Echo', 7, 'petrol', 60, 68500),
(10, 'Zephyr', 5, 'electric', 400, 20500),
(11, 'Coast', 3, 'electric', 265, 88500),
(12, 'Pioneer', 10, 'electric', 420, 70000),
(13, 'Terra', 2, 'diesel', 115, 11500),
(14, 'Comet', 3, 'electric', 185, 77000),
(15, 'Vista', 2, 'petrol', 430, 24500),
(16, 'Nomad', 9, 'diesel', 405, 81000),
(17, 'Swift', 6, 'diesel', 240, 60500),
(18, 'Summit', 3, 'diesel', 390, 15500);
