CREATE TABLE vineyards (id INTEGER PRIMARY KEY, name TEXT, slope_side TEXT, vine_area INTEGER);
INSERT INTO vineyards VALUES
(1, 'Clos Noir', 'valley', 32),
(2, 'Sierra Vina', 'shady', 19),
(3, 'Casa Alba', 'sunny', 44),
(4, 'Quinta Velha', 'shady', 52),
(5, 'Villa Rosa', 'shady', 43),
(6, 'Hof Lindner', 'shady', 20),
(7, 'Chateau Gris', 'valley', 3),
(8, 'Monte Sol', 'valley', 30),
(9, 'Weinberg Nord', 'sunny', 15),
(10, 'Tenuta Blu', 'valley', 40);

CREATE TABLE wines (id INTEGER PRIMARY KEY, wine_name TEXT, vineyard_id INTEGER REFERENCES vineyards(id), grape TEXT, vintage INTEGER, alcohol REAL);
INSERT INTO wines VALUES
(1, 'Rubino', 1, 'Merlot', 2005, 15),
(2, 'Perla', 2, 'Malbec', 2012, 15.5),
(3, 'Cuvee Nine', 7, 'Syrah', 2016, 11),
(4, 'Velours', 2, 'Merlot', 2017, 14.5),
(5, 'Notte', 2, 'Syrah', 2018, 10.5),
(6, 'Fino', 2, 'Riesling', 2005, 10.5),
(7, 'Terra Rossa', 3, 'Riesling', 2002, 10.5),
(8, 'Primavera', 3, 'Merlot', 2014, 10),
(9, 'Old Barrel', 2, 'Syrah', 2022, 10),
(10, 'Sole', 2, 'Merlot', 2018, 10),
(11, 'Amaro', 3, 'Riesling', 2013, 13),
(12, 'Gran Duca', 2, 'Merlot', 2013, 15),
(13, 'Bianco Vivo', 8, 'Riesling', 2013, 15.5),
(14, 'Aurora Brut', 7, 'Syrah', 2009, 13),
(15, 'Luna Dolce', 2, 'Merlot', 2012, 11.5),
(16, 'Reserva X', 1, 'Malbec', 1998, 12);
