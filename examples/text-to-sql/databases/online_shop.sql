CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined TEXT);
INSERT INTO customers VALUES
(1, 'Lena Novak', 'Vienna', '2017-05-13'),
(2, 'Samuel Walsh', 'Lisbon', '2017-09-17'),
(3, 'David Okafor', 'Lima', '2021-05-28'),
(4, 'Daniel Brown', 'Lisbon', '2019-12-18'),
(5, 'Emil Jansen', 'Lisbon', '2021-11-27'),
(6, 'Nadia Petrova', 'Vienna', '2022-07-20'),
(7, 'Ingrid Berg', 'Oslo', '2018-05-24'),
(8, 'Victor Ortega', 'Lisbon', '2023-02-07'),
(9, 'Rosa Marin', 'Toronto', '2020-03-14'),
(10, 'Tomas Khan', 'Lisbon', '2018-01-08'),
(11, 'Hugo Weber', 'Lima', '2019-05-06'),
(12, 'Hugo Fischer', 'Oslo', '2022-12-29');

CREATE TABLE orders (id INTEGER PRIMARY KEY, reference TEXT, customer_id INTEGER REFERENCES customers(id), status TEXT, total INTEGER, placed_on TEXT);
INSERT INTO orders VALUES
(1, 'DN-101', 2, 'pending', 520, '2024-04-12'),
(2, 'AX-793', 8, 'returned', 620, '2024-09-27'),
(3, 'DN-447', 3, 'cancelled', 890, '2024-09-05'),
(4, 'BK-101', 2, 'cancelled', 720, '2022-12-16'),
(5, 'AX-966', 8, 'shipped', 740, '2022-10-09'),
(6, 'CT-966', 12, 'shipped', 65, '2023-12-21'),
(7, 'DN-620', 1, 'returned', 335, '2022-09-18'),
(8, 'BK-620', 6, 'returned', 15, '2023-11-30'),
(9, 'AX-447', 12, 'shipped', 295, '2024-03-03'),
(10, 'AX-620', 5, 'shipped', 285, '2022-05-02'),
(11, 'BK-447', 8, 'cancelled', 315, '2024-03-28'),
(12, 'BK-274', 8, 'shipped', 20, '2024-08-22'),
(13, 'CT-101', 2, 'pending', 525, '2023-12-01'),
(14, 'CT-447', 2, 'pending', 645, '2024-05-17'),
(15, 'DN-274', 12, 'pending', 120, '2022-04-05'),
(16, 'AX-274', 12, 'shipped', 90, '2023-01-20'),
(17, 'CT-793', 12, 'returned', 260, '2022-08-04'),
(18, 'CT-274', 12, 'returned', 140, '2022-01-08');
