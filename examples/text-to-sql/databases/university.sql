CREATE TABLE faculties (id INTEGER PRIMARY KEY, name TEXT, campus TEXT, founding_year INTEGER);
INSERT INTO faculties VALUES
(1, 'Architecture', 'river', 1950),
(2, 'Theology', 'south', 1936),
(3, 'Law', 'south', 1892),
(4, 'Arts', 'river', 1969),
(5, 'Engineering', 'south', 1885),
(6, 'Agriculture', 'north', 1957),
(7, 'Science', 'river', 1983),
(8, 'Medicine', 'south', 1990),
(9, 'Business', 'river', 1934),
(10, 'Education', 'river', 1971);

CREATE TABLE students (id INTEGER PRIMARY KEY, name TEXT, faculty_id INTEGER REFERENCES faculties(id), age INTEGER, grade REAL, home_country TEXT);
INSERT INTO students VALUES
(1, 'Kenji Tanaka', 7, 37, 3, 'Chile'),
(2, 'Felix Dubois', 9, 36, 3.5, 'Spain'),
(3, 'Maria Tanaka', 7, 22, 2.8, 'Japan'),
(4, 'Hugo Fischer', 9, 23, 2.1, 'Chile'),
(5, 'Clara Miller', 9, 27, 3.4, 'Chile'),
(6, 'Tomas Kovacs', 4, 29, 3.6, 'Spain'),
(7, 'Emil Jansen', 9, 19, 3.8, 'Chile'),
(8, 'Peter Sato', 7, 18, 1.7, 'Spain'),
(9, 'Lena Fischer', 7, 18, 5, 'Chile'),
(10, 'Felix Berg', 7, 31, 4.6, 'Spain'),
(11, 'Amara Brown', 5, 25, 4.5, 'Spain'),
(12, 'Ingrid Berg', 7, 26, 4, 'Kenya'),
(13, 'Ivan Moreau', 1, 38, 1.4, 'Kenya'),
(14, 'Zoe Walsh', 3, 24, 3.3, 'Spain'),
(15, 'Rosa Marin', 3, 35, 3.1, 'Spain'),
(16, 'Elena Moreau', 4, 40, 3.7, 'Chile'),
(17, 'Noah Sharma', 1, 39, 4.1, 'Chile'),
(18, 'Kenji Marin', 7, 33, 1.2, 'Kenya');
