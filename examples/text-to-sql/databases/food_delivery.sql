CREATE TABLE couriers (id INTEGER PRIMARY KEY, name TEXT, vehicle TEXT, rating REAL);
INSERT INTO couriers VALUES
(1, 'David Miller', 'scooter', 3.2),
(2, 'Tomas Kovacs', 'bicycle', 4.2),
(3, 'Ivan Moreau', 'van', 4),
(4, 'Noah Adler', 'scooter', 4.3),
(5, 'Kenji Tanaka', 'scooter', 4.8),
(6, 'Elena Moreau', 'van', 3.9),
(7, 'Daniel Santos', 'van', 4.9),
(8, 'Victor Lopez', 'scooter', 4.6),
(9, 'Greta Lindholm', 'bicycle', 2.6),
(10, 'Hana Larsen', 'bicycle', 3.6),
(11, 'Hugo Fischer', 'van', 5),
(12, 'Lena Novak', 'bicycle', 3.4);

CREATE TABLE deliveries (id INTEGER PRIMARY KEY, code TEXT, courier_id INTEGER REFERENCES couriers(id), district TEXT, distance REAL, tip REAL);
INSERT INTO deliveries VALUES
(1, 'AX-101', 1, 'Old Town', 3.5, 11),
(2, 'DN-793', 5, 'Centre', 3, 4.5),
(3, 'AX-274', 9, 'Centre', 9, 12),
(4, 'CT-793', 5, 'Old Town', 11, 3.5),
(5, 'DN-101', 6, 'Centre', 4, 11.5),
(6, 'BK-274', 8, 'Centre', 13, 8),
(7, 'CT-620', 2, 'Harbour', 8, 9.5),
(8, 'BK-966', 2, 'Old Town', 7, 9.5),
(9, 'DN-966', 5, 'Harbour', 7.5, 6),
(10, 'AX-793', 2, 'Riverside', 5, 8),
(11, 'BK-101', 3, 'Riverside', 9.5, 10.5),
(12, 'CT-101', 3, 'Riverside', 3, 10),
(13, 'CT-966', 11, 'Old Town', 7, 3),
(14, 'AX-620', 5, 'Centre', 1, 9),
(15, 'DN-447', 5, 'Old Town', 4, 8.5),
(16, 'CT-274', 3, 'Riverside', 11.5, 2.5),
(17, 'CT-447', 2, 'Harbour', 10.5, 2),
(18, 'BK-447', 3, 'Harbour', 8.5, 3.5);
