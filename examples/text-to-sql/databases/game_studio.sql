CREATE TABLE studios (id INTEGER PRIMARY KEY, name TEXT, country TEXT, staff INTEGER);
INSERT INTO studios VALUES
(1, 'Oakridge', 'Spain', 165),
(2, 'Bluepeak', 'Spain', 680),
(3, 'Goldfinch', 'Japan', 135),
(4, 'Silverline', 'Japan', 105),
(5, 'Ironleaf', 'Spain', 855),
(6, 'Evergreen', 'Kenya', 740),
(7, 'Starfield', 'Spain', 255),
(8, 'Redwood', 'Kenya', 275),
(9, 'Brightway', 'Japan', 420),
(10, 'Suncrest', 'Japan', 360),
(11, 'Riverton', 'Chile', 375),
(12, 'Clearwater', 'Chile', 85);

CREATE TABLE video_games (id INTEGER PRIMARY KEY, title TEXT, studio_id INTEGER REFERENCES studios(id), platform TEXT, score INTEGER, copies_sold INTEGER);
INSERT INTO video_games VALUES
(1, 'Hero Academy', 10, 'console', 46, 121000),
(2, 'Silent Woods', 10, 'console', 61, 764000),
(3, 'Rune Quest', 10, 'mobile', 91, 281000),
(4, 'Ghost Runner Zero', 1, 'console', 69, 415000),
(5, 'Solar Siege', 10, 'console', 48, 230000),
(6, 'Bomb Squad', 10, 'PC', 76, 417000),
(7, 'Island Days', 10, 'console', 75, 31000),
(8, 'Puzzle Bay', 1, 'console', 90, 135000),
(9, 'Farm Story', 1, 'console', 72, 508000),
(10, 'Void Pilot', 4, 'PC', 51, 593000),
(11, 'Rally Kings', 10, 'mobile', 94, 268000),
(12, 'Mech Arena', 4, 'mobile', 60, 832000),
(13, 'Drift City', 11, 'PC', 63, 378000),
(14, 'Kart Mania', 4, 'PC', 95, 324000),
(15, 'Sky Farmers', 11, 'mobile', 82, 708000),
(16, 'Dungeon Loop', 2, 'PC', 47, 240000);
