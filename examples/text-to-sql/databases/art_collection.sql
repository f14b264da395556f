CREATE TABLE artists (id INTEGER PRIMARY KEY, name TEXT, birthplace TEXT, movement TEXT);
INSERT INTO artists VALUES
(1, 'Omar Hassan', 'Prague', 'Surrealism'),
(2, 'David Miller', 'Prague', 'Cubism'),
(3, 'Leila Haddad', 'Dublin', 'Surrealism'),
(4, 'Rosa Ortega', 'Dublin', 'Surrealism'),
(5, 'Noah Adler', 'Dublin', 'Cubism'),
(6, 'Felix Dubois', 'Nairobi', 'Realism'),
(7, 'Priya Sharma', 'Nairobi', 'Cubism'),
(8, 'Lucas Rossi', 'Prague', 'Surrealism'),
(9, 'David Okafor', 'Dublin', 'Cubism'),
(10, 'Samuel Cohen', 'Osaka', 'Cubism'),
(11, 'Hana Sato', 'Porto', 'Cubism'),
(12, 'Emil Haddad', 'Prague', 'Realism');

CREATE TABLE paintings (id INTEGER PRIMARY KEY, title TEXT, artist_id INTEGER REFERENCES artists(id), technique TEXT, width INTEGER, estimate INTEGER);
INSERT INTO paintings VALUES
(1, 'Morning Fog', 7, 'oil', 48, 56000),
(2, 'The Dance', 5, 'watercolor', 170, 51000),
(3, 'White Vase', 7, 'oil', 168, 17000),
(4, 'Self-Portrait', 9, 'watercolor', 176, 49000),
(5, 'Woman with Fan', 9, 'watercolor', 214, 42000),
(6, 'The Reader', 7, 'oil', 161, 18000),
(7, 'Yellow House', 7, 'oil', 268, 1000),
(8, 'Three Pears', 9, 'tempera', 135, 62000),
(9, 'Blue Nude', 10, 'watercolor', 116, 8000),
(10, 'Evening Street', 3, 'oil', 88, 45000),
(11, 'The Harvest', 3, 'oil', 167, 32000),
(12, 'Frozen Lake', 9, 'oil', 46, 23000),
(13, 'Storm at Sea', 5, 'watercolor', 163, 58000),
(14, 'The Card Game', 5, 'tempera', 63, 92000),
(15, 'Grey Bridge', 1, 'oil', 37, 50000),
(16, 'Red Boats', 5, 'watercolor', 117, 66000);
