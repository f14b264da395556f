CREATE TABLE directors (id INTEGER PRIMARY KEY, name TEXT, nationality TEXT, awards INTEGER);
INSERT INTO directors VALUES
(1, 'Samuel Walsh', 'French', 9),
(2, 'Omar Petrova', 'French', 13),
(3, 'Hugo Fischer', 'French', 3),
(4, 'Aisha Kovacs', 'Italian', 7),
(5, 'Sofia Rossi', 'French', 10),
(6, 'Maria Tanaka', 'Indian', 11),
(7, 'Daniel Brown', 'Italian', 0),
(8, 'Clara Santos', 'French', 6),
(9, 'Nadia Petrova', 'French', 9),
(10, 'Noah Adler', 'Indian', 4),
(11, 'Amara Okafor', 'Korean', 10),
(12, 'Samuel Cohen', 'Indian', 4);

CREATE TABLE films (id INTEGER PRIMARY KEY, title TEXT, director_id INTEGER REFERENCES directors(id), release_year INTEGER, minutes INTEGER, box_office INTEGER);
INSERT INTO films VALUES
(1, 'Second Sunrise', 6, 2013, 108, 262),
(2, 'House of Rain', 11, 2007, 120, 71),
(3, 'The Ninth Door', 11, 2023, 98, 258),
(4, 'The Understudy', 11, 1986, 149, 104),
(5, 'City of Echoes', 11, 1990, 86, 364),
(6, 'Sunday Market', 11, 2000, 95, 170),
(7, 'A Thousand Miles', 11, 2011, 114, 63),
(8, 'Velvet Sky', 11, 2004, 106, 339),
(9, 'Red Horizon', 7, 2003, 119, 726),
(10, 'Lost Signal', 5, 1998, 181, 173),
(11, 'Falling Upward', 5, 1987, 172, 849),
(12, 'Deep Water', 6, 1985, 146, 158),
(13, 'The Green Room', 1, 2015, 148, 454),
(14, 'The Long Winter', 9, 1994, 117, 291),
(15, 'Midnight Express Lane', 5, 2017, 102, 84),
(16, 'Broken Compass', 7, 1997, 101, 436),
(17, 'The Wedding Guest', 6, 2008, 122, 480),
(18, 'Gravel Road', 5, 1991, 77, 502);
