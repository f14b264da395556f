CREATE TABLE dogs (id INTEGER PRIMARY KEY, name TEXT, breed TEXT, age INTEGER, adoption_fee INTEGER, adopter TEXT);
INSERT INTO dogs VALUES
(1, 'Nero', 'poodle', 3, 280, NULL),
(2, 'Molly', 'beagle', 14, 190, 'Kenji Marin'),
(3, 'Lola', 'collie', 9, 40, 'Zoe Silva'),
(4, 'Charlie', 'poodle', 9, 100, 'Priya Adler'),
(5, 'Bella', 'terrier', 10, 170, NULL),
(6, 'Rocky', 'poodle', 7, 20, 'Amara Brown'),
(7, 'Emma', 'collie', 8, 130, 'Nadia Quinn'),
(8, 'Fly', 'poodle', 6, 140, NULL),
(9, 'Sam', 'collie', 10, 200, 'Lena Fischer'),
(10, 'Argos', 'beagle', 7, 220, 'Tomas Kovacs'),
(11, 'Ruby', 'poodle', 13, 60, 'Hana Sato'),
(12, 'Lucky', 'terrier', 15, 80, 'Nadia Petrova'),
(13, 'Trixie', 'terrier', 13, 140, 'Oscar Quinn'),
(14, 'Balu', 'terrier', 11, 290, 'Noah Adler'),
(15, 'Max', 'beagle', 6, 50, NULL),
(16, 'Buddy', 'terrier', 12, 50, NULL);
