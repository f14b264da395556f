CREATE TABLE runners (id INTEGER PRIMARY KEY, name TEXT, bib INTEGER, homeland TEXT, age_group TEXT, finish_time INTEGER, running_partner TEXT);
INSERT INTO runners VALUES
(1, 'Greta Hassan', 824, 'Chile', 'seniors', 161, 'Kenji Tanaka'),
(2, 'Tomas Khan', 272, 'Chile', 'seniors', 254, 'Hana Sato'),
(3, 'Priya Adler', 451, 'Chile', 'seniors', 293, 'Nadia Quinn'),
(4, 'Zoe Walsh', 14, 'Kenya', 'seniors', 209, NULL),
(5, 'Sofia Rossi', 387, 'Chile', 'veterans', 163, 'Daniel Santos'),
(6, 'Kenji Marin', 550, 'Chile', 'juniors', 135, NULL),
(7, 'Clara Santos', 743, 'Kenya', 'juniors', 309, 'Omar Hassan'),
(8, 'David Miller', 340, 'Spain', 'seniors', 213, NULL),
(9, 'Victor Ortega', 259, 'Japan', 'veterans', 192, 'Nadia Petrova'),
(10, 'Nadia Quinn', 57, 'Japan', 'seniors', 215, 'Sofia Cohen'),
(11, 'Leila Dubois', 814, 'Japan', 'juniors', 152, 'Zoe Walsh'),
(12, 'Leila Haddad', 676, 'Chile', 'veterans', 202, 'Ivan Novak'),
(13, 'Ingrid Jansen', 456, 'Kenya', 'veterans', 229, 'Greta Lindholm'),
(14, 'Peter Larsen', 677, 'Japan', 'juniors', 164, NULL),
(15, 'Ivan Moreau', 516, 'Kenya', 'veterans', 301, 'Oscar Lindholm'),
(16, 'Ingrid Berg', 389, 'Spain', 'veterans', 169, NULL);
