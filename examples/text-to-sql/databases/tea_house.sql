CREATE TABLE teas (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, origin TEXT, brewing_time REAL, price REAL);
INSERT INTO teas VALUES
(1, 'White Peony', 'black', 'India', 5, 35.5),
(2, 'Jade Mist', 'green', 'India', 10.5, 12),
(3, 'Spiced Chai', 'black', 'Kenya', 1.5, 10.5),
(4, 'Mint Garden', 'black', 'China', 6, 19.5),
(5, 'Royal Assam', 'white', 'India', 1.5, 24.5),
(6, 'Earl Blend', 'black', 'Japan', 8, 5.5),
(7, 'Dragon Well', 'green', 'India', 6.5, 26.5),
(8, 'Iron Goddess', 'green', 'Japan', 1.5, 21),
(9, 'Night Camomile', 'herbal', 'Kenya', 10.5, 15),
(10, 'Golden Tip', 'green', 'Kenya', 10.5, 7),
(11, 'Rose Petal', 'black', 'Kenya', 2.5, 12.5),
(12, 'Sencha', 'white', 'India', 11, 21.5),
(13, 'Smoky Pine', 'white', 'India', 8.5, 25),
(14, 'Morning Dew', 'black', 'Japan', 6.5, 39.5);
