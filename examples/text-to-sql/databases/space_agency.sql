CREATE TABLE space_agencies (agency_id INTEGER PRIMARY KEY, name TEXT, headquarters TEXT, yearly_funding INTEGER);
INSERT INTO space_agencies VALUES
(1, 'Zenith Org', 'Toronto', 500),
(2, 'Polar Space', 'Vienna', 175),
(3, 'Stella Nova', 'Oslo', 115),
(4, 'Orbital One', 'Lima', 705),
(5, 'Helios Group', 'Oslo', 365),
(6, 'Comet Board', 'Lima', 65),
(7, 'Cosmo Norte', 'Oslo', 520),
(8, 'Astra West', 'Vienna', 385),
(9, 'Lunar Union', 'Vienna', 890),
(10, 'Vega Institute', 'Oslo', 680);

CREATE TABLE satellites (satellite_id INTEGER PRIMARY KEY, satellite_name TEXT, agency_id INTEGER REFERENCES space_agencies(agency_id), orbit TEXT, mass INTEGER, launched TEXT);
INSERT INTO satellites VALUES
(1, 'Falke 3', 1, 'equatorial', 680, '2019-04-02'),
(2, 'Celeste', 7, 'equatorial', 4770, '2014-03-10'),
(3, 'Argus 1', 1, 'polar', 1990, '2019-07-15'),
(4, 'Eos', 1, 'equatorial', 3860, '2018-04-08'),
(5, 'Osiris', 3, 'equatorial', 490, '2012-01-30'),
(6, 'Icarus', 1, 'polar', 5060, '2017-11-09'),
(7, 'Nadir 2', 3, 'geostationary', 2880, '2020-04-01'),
(8, 'Dione 4', 1, 'geostationary', 3120, '2017-08-09'),
(9, 'Gaia Minor', 8, 'polar', 1810, '2022-12-06'),
(10, 'Kepler Mini', 1, 'polar', 1030, '2008-01-29'),
(11, 'Juno B', 3, 'geostationary', 1370, '2023-02-07'),
(12, 'Lyra 5', 1, 'geostationary', 1320, '2018-10-04'),
(13, 'Pallas 9', 3, 'polar', 1400, '2008-08-01'),
(14, 'Beacon 2', 10, 'geostationary', 2730, '2014-03-07'),
(15, 'Merlin', 1, 'geostationary', 4250, '2021-12-06'),
(16, 'Hera 7', 1, 'polar', 5570, '2011-01-31');
