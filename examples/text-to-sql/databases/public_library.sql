CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT, country TEXT, birth_year INTEGER);
INSERT INTO authors VALUES
(1, 'Ivan Novak', 'Spain', 1945),
(2, 'Samuel Walsh', 'Kenya', 1955),
(3, 'Noah Adler', 'Norway', 1951),
(4, 'Rosa Marin', 'Spain', 1946),
(5, 'Priya Adler', 'Canada', 1939),
(6, 'Oscar Lindholm', 'Japan', 1976),
(7, 'David Okafor', 'Kenya', 1948),
(8, 'Sofia Rossi', 'Spain', 1970),
(9, 'Ivan Moreau', 'Chile', 1989),
(10, 'Clara Miller', 'Japan', 1957),
(11, 'Lena Fischer', 'Kenya', 1938),
(12, 'Daniel Brown', 'Norway', 1963);

CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author_id INTEGER REFERENCES authors(id), genre TEXT, pages INTEGER, price REAL);
INSERT INTO books VALUES
(1, 'Blue Meridian', 4, 'History', 240, 14.5),
(2, 'The Clockmaker', 5, 'Crime', 860, 20.5),
(3, 'Paper Lanterns', 10, 'History', 340, 27.5),
(4, 'River of Ash', 1, 'History', 690, 10.5),
(5, 'The Wolf Winter', 10, 'Crime', 780, 36.5),
(6, 'The Salt Road', 7, 'Crime', 720, 20),
(7, 'The Iron Crown', 9, 'Poetry', 750, 41),
(8, 'The Last Ferry', 10, 'Crime', 210, 21.5),
(9, 'The Glass Orchard', 6, 'Crime', 380, 30.5),
(10, 'The Hollow Hill', 7, 'Fantasy', 390, 25),
(11, 'Winter Letters', 4, 'Crime', 520, 41.5),
(12, 'The Silent Harbor', 10, 'Fantasy', 570, 28.5),
(13, 'Autumn Trains', 10, 'Fantasy', 320, 40),
(14, 'A Quiet Storm', 10, 'Crime', 550, 6.5),
(15, 'Moonlit Harbor', 7, 'History', 330, 19.5),
(16, 'Night Garden', 1, 'Crime', 260, 7.5),
(17, 'Stone and Sky', 5, 'Poetry', 730, 30),
(18, 'Small Kingdoms', 4, 'Poetry', 600, 43.5);
