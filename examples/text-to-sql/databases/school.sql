CREATE TABLE teachers (teacher_id INTEGER PRIMARY KEY, name TEXT, degree TEXT, start_year INTEGER);
INSERT INTO teachers VALUES
(1, 'Ivan Moreau', 'doctorate', 2008),
(2, 'Lena Novak', 'master', 2017),
(3, 'Felix Berg', 'doctorate', 2013),
(4, 'Rosa Marin', 'doctorate', 1997),
(5, 'Omar Petrova', 'master', 2004),
(6, 'Elena Weber', 'bachelor', 2012),
(7, 'Oscar Quinn', 'doctorate', 2003),
(8, 'Ingrid Berg', 'master', 2001),
(9, 'Priya Adler', 'bachelor', 1996),
(10, 'Maria Lopez', 'master', 2005),
(11, 'Greta Lindholm', 'bachelor', 1999),
(12, 'Elena Moreau', 'doctorate', 2018);

CREATE TABLE courses (course_id INTEGER PRIMARY KEY, title TEXT, teacher_id INTEGER REFERENCES teachers(teacher_id), level TEXT, credits INTEGER, seats INTEGER);
INSERT INTO courses VALUES
(1, 'Economics', 2, 'intermediate', 7, 8),
(2, 'Algebra', 5, 'beginner', 6, 16),
(3, 'Drama', 5, 'advanced', 2, 36),
(4, 'French', 10, 'advanced', 1, 49),
(5, 'Creative Writing', 1, 'intermediate', 3, 50),
(6, 'Biology', 12, 'beginner', 1, 14),
(7, 'Physics', 5, 'intermediate', 4, 9),
(8, 'Geography', 9, 'advanced', 4, 39),
(9, 'Statistics', 1, 'beginner', 7, 46),
(10, 'Latin', 12, 'advanced', 3, 60),
(11, 'World History', 9, 'advanced', 3, 44),
(12, 'Chemistry', 1, 'intermediate', 3, 33),
(13, 'Robotics', 2, 'beginner', 4, 25),
(14, 'Drawing', 2, 'advanced', 4, 12),
(15, 'Music Theory', 9, 'beginner', 5, 23),
(16, 'Philosophy', 1, 'beginner', 1, 41);
