CREATE TABLE cycling_teams (id INTEGER PRIMARY KEY, name TEXT, country TEXT, budget INTEGER);
INSERT INTO cycling_teams VALUES
(1, 'Rapid Wheels', 'Japan', 25),
(2, 'Velo Max', 'Spain', 15),
(3, 'Team Alpine', 'Japan', 10),
(4, 'Peloton Nine', 'Spain', 45),
(5, 'Iron Climb', 'Kenya', 29),
(6, 'Crank Force', 'Chile', 13),
(7, 'Blue Chain', 'Chile', 20),
(8, 'Tempo', 'Japan', 28),
(9, 'Green Jersey', 'Kenya', 26),
(10, 'Sprint Kings', 'Kenya', 31);

CREATE TABLE riders (id INTEGER PRIMARY KEY, name TEXT, team_id INTEGER REFERENCES cycling_teams(id), role TEXT, stage_wins INTEGER, height INTEGER);
INSERT INTO riders VALUES
(1, 'Lena Novak', 5, 'climber', 23, 184),
(2, 'Ingrid Jansen', 7, 'sprinter', 24, 199),
(3, 'Daniel Santos', 7, 'sprinter', 0, 166),
(4, 'Maria Lopez', 7, 'sprinter', 7, 193),
(5, 'Tomas Kovacs', 2, 'sprinter', 13, 170),
(6, 'Omar Hassan', 8, 'helper', 25, 197),
(7, 'Sofia Cohen', 8, 'helper', 24, 179),
(8, 'Aisha Khan', 8, 'climber', 12, 169),
(9, 'Clara Santos', 6, 'climber', 15, 165),
(10, 'Hugo Fischer', 4, 'helper', 2, 161),
(11, 'David Miller', 2, 'sprinter', 30, 183),
(12, 'Oscar Quinn', 2, 'helper', 17, 164),
(13, 'Felix Dubois', 2, 'climber', 16, 192),
(14, 'Lucas Rossi', 1, 'climber', 1, 181),
(15, 'Amara Okafor', 5, 'helper', 4, 167),
(16, 'Hana Larsen', 5, 'climber', 8, 180),
(17, 'Aisha Kovacs', 7, 'climber', 26, 195),
(18, 'Elena Weber', 5, 'helper', 14, 178);
