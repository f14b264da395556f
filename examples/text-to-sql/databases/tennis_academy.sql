CREATE TABLE coaches (id INTEGER PRIMARY KEY, name TEXT, surface TEXT, titles INTEGER);
INSERT INTO coaches VALUES
(1, 'Noah Adler', 'hard court', 0),
(2, 'Victor Lopez', 'clay', 21),
(3, 'Emil Haddad', 'hard court', 10),
(4, 'Noah Sharma', 'grass', 14),
(5, 'Nadia Petrova', 'hard court', 8),
(6, 'Lucas Silva', 'grass', 9),
(7, 'Samuel Walsh', 'hard court', 16),
(8, 'Clara Santos', 'clay', 23),
(9, 'Maria Lopez', 'grass', 29),
(10, 'Greta Lindholm', 'hard court', 17),
(11, 'Clara Miller', 'clay', 22),
(12, 'Amara Brown', 'grass', 5);

CREATE TABLE juniors (id INTEGER PRIMARY KEY, name TEXT, coach_id INTEGER REFERENCES coaches(id), ranking INTEGER, hand TEXT, born_on TEXT, racket_sponsor TEXT);
INSERT INTO juniors VALUES
(1, 'Hugo Fischer', 8, 33, 'right', '2008-10-24', 'Volley'),
(2, 'Priya Sharma', 12, 178, 'left', '2011-10-31', 'Volley'),
(3, 'Victor Ortega', 8, 145, 'right', '2009-10-15', 'Volley'),
(4, 'Daniel Santos', 7, 128, 'left', '2010-03-06', NULL),
(5, 'Victor Lopez', 3, 148, 'left', '2011-04-14', NULL),
(6, 'Elena Moreau', 8, 133, 'right', '2011-01-27', 'Prime'),
(7, 'Noah Sharma', 3, 3, 'right', '2010-08-20', NULL),
(8, 'Omar Petrova', 2, 18, 'right', '2006-06-04', 'Volley'),
(9, 'Hana Larsen', 1, 97, 'left', '2009-09-29', 'Volley'),
(10, 'Clara Miller', 2, 89, 'right', '2006-08-20', 'Prime'),
(11, 'Nadia Petrova', 1, 114, 'left', '2008-09-22', 'Prime'),
(12, 'Lucas Rossi', 8, 167, 'right', '2005-05-10', 'Volley'),
(13, 'Samuel Walsh', 8, 57, 'left', '2005-02-25', NULL),
(14, 'Tomas Khan', 4, 95, 'right', '2008-04-30', 'Prime'),
(15, 'Clara Santos', 8, 191, 'left', '2005-03-21', NULL),
(16, 'Hugo Weber', 2, 48, 'right', '2007-10-01', 'Prime'),
(17, 'Leila Dubois', 8, 69, 'left', '2011-07-10', 'Volley'),
(18, 'Daniel Brown', 8, 110, 'left', '2008-08-22', 'Prime');
