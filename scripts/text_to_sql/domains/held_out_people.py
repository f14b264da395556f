"""Held-out domains of trades and pastimes: no table, and no column but ``id`` and ``name``, is in one to learn from."""

from __future__ import annotations

from text_to_sql.pools import CITIES, FEW_CITIES, FEW_COUNTRIES, PEOPLE
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

HELD_OUT_PEOPLE = (
    domain(
        "wine_cellar",
        table(
            "vineyards",
            "vineyard",
            name(
                "name",
                "Casa Alba|Monte Sol|Chateau Gris|Villa Rosa|Weinberg Nord|Quinta Velha|Clos Noir|Tenuta Blu|"
                "Hof Lindner|Sierra Vina",
            ),
            category("slope_side", "sunny|shady|valley", "slope side", such="on the {} side"),
            number("vine_area", 3, 85, "vine area", unit="hectares", most="largest", least="smallest", sums=True),
            rows=10,
        ),
        table(
            "wines",
            "wine",
            name(
                "wine_name",
                "Rubino|Perla|Notte|Aurora Brut|Sole|Cuvee Nine|Terra Rossa|Bianco Vivo|Old Barrel|Velours|Primavera|"
                "Reserva X|Gran Duca|Fino|Luna Dolce|Amaro",
                "name",
                "wine name",
            ),
            link("vineyard_id", "vineyards"),
            category("grape", "Merlot|Riesling|Syrah|Malbec"),
            year("vintage", 1998, 2022, "vintage", most="youngest"),
            number("alcohol", 8, 15.5, "alcohol content", step=0.5, unit="percent", most="strongest", least="weakest"),
            by="from",
        ),
    ),
    domain(
        "translation_bureau",
        table(
            "translators",
            "translator",
            name("name", PEOPLE),
            category("mother_tongue", "Polish|Korean|Portuguese|Greek", "mother tongue"),
            number("line_rate", 1, 9, "line rate", "rate per line", step=0.1, most="most expensive", least="cheapest"),
            person=True,
        ),
        table(
            "manuscripts",
            "manuscript",
            name(
                "working_title",
                "Deep Snow|The Orchard Book|Bees and Kings|Ports of Call|Sea Grammar|On Bridges|The Wool Trade|"
                "Letters Home|Garden Almanac|Rope and Tar|Ink|First Harvest|The Map Room|Salt Tales|Clouds|Iron Songs",
                "working title",
            ),
            link("translator_id", "translators"),
            category("target_language", "Danish|Czech|Hungarian", "target language", such="translated into {}"),
            number(
                "sheets",
                30,
                700,
                "number of sheets",
                step=5,
                counted="sheets",
                most="longest",
                least="shortest",
                sums=True,
            ),
            day("due_on", 2024, 2026, "due date"),
            by="of",
        ),
    ),
    domain(
        "perfumery",
        table(
            "perfumes",
            "perfume",
            name(
                "name",
                "Nuit Rose|Amber Veil|Citron Vert|Cedar Song|Velvet Musk|Ocean Mist|Fleur Noire|Golden Iris|Rain Leaf|"
                "Santal|Lavande|Tonka Dream|Fig Shade|Pure Neroli",
            ),
            category("scent_family", "floral|woody|fresh", "scent family"),
            number("bottle_size", 15, 150, "bottle size", step=5, unit="ml", most="largest", least="smallest"),
            number("retail_value", 18, 240, "retail value", step=2, most="most expensive", least="cheapest", sums=True),
            year("launch_year", 1975, 2023, "launch year", did="were launched"),
            text("nose", PEOPLE, "perfumer", missing=True),
            rows=14,
        ),
    ),
    domain(
        "circus",
        table(
            "troupes",
            "troupe",
            name(
                "name",
                "Cirque Lune|Flying Stars|Golden Ring|Big Top Brothers|Sawdust Kings|Velvet Tent|Moon Riders|Red Nose|"
                "Tivoli|Fire Wheel",
            ),
            category("winter_quarters", CITIES[5:9], "winter quarters", such="wintering in {}"),
            number("wagons", 4, 60, "number of wagons", counted="wagons", sums=True),
            key="troupe_id",
            rows=10,
        ),
        table(
            "performers",
            "performer",
            name("stage_name", PEOPLE, "stage name", "name"),
            link("troupe_id", "troupes", "troupe_id"),
            category("discipline", "juggling|trapeze|clowning|magic"),
            number(
                "weekly_wage",
                180,
                1400,
                "weekly wage",
                "wage",
                step=10,
                verb="earn",
                most="best paid",
                least="worst paid",
                sums=True,
            ),
            year("debut", 1990, 2022, "debut year", did="first appeared", most="", least=""),
            key="performer_id",
            person=True,
            by="of",
        ),
    ),
    domain(
        "marathon",
        table(
            "runners",
            "runner",
            name("name", PEOPLE),
            number("bib", 1, 900, "bib number", "start number"),
            category("homeland", FEW_COUNTRIES, such="from {}"),
            category("age_group", "juniors|seniors|veterans", "age group", such="in the {} group"),
            number("finish_time", 128, 320, "finish time", unit="minutes", most="slowest", least="fastest"),
            text("running_partner", PEOPLE, "running partner", missing=True),
            person=True,
            rows=16,
        ),
    ),
    domain(
        "harbour",
        table(
            "piers",
            "pier",
            name(
                "name",
                "North Pier|Fish Quay|Old Dock|Coal Wharf|Ferry Slip|Long Mole|Stone Jetty|Customs Quay|Timber Dock|"
                "East Basin",
            ),
            number("water_depth", 3, 24, "water depth", unit="m", most="deepest", least="shallowest"),
            category("operator_firm", "Portus|Marinex|Dockline", "operator firm", such="run by {}", missing=True),
            rows=10,
        ),
        table(
            "vessels",
            "vessel",
            name(
                "vessel_name",
                "Sea Lark|Albatross|Queen Ann|Petrel|Nordwind|Santa Rita|Black Pearl|Tern|Osprey|Big Blue|Wanderer|"
                "Cormorant|Sirius|Mary Jane|Polaris|Kingfisher",
                "name",
                "vessel name",
            ),
            link("pier_id", "piers"),
            category("flag", "Panama|Malta|Liberia", such="under the flag of {}"),
            number("tonnage", 200, 9800, step=50, most="largest", least="smallest", sums=True),
            number("crew", 3, 48, "crew size", counted="crew members", sums=True),
            plural="vessels",
            by="moored at",
        ),
    ),
    domain(
        "cheese_makers",
        table(
            "dairies",
            "dairy",
            name(
                "name",
                "Alm Dairy|Green Pasture|Berghof|Old Churn|Meadow Milk|Rocca|La Ferme|Sunny Cow|Three Goats|"
                "Valley Cream",
            ),
            category("village", "Andeer|Trun|Splugen", such="in {}"),
            number(
                "milk_cows",
                8,
                120,
                "number of milk cows",
                counted="milk cows",
                most="largest",
                least="smallest",
                sums=True,
            ),
            plural="dairies",
            rows=10,
        ),
        table(
            "cheeses",
            "cheese",
            name(
                "cheese_name",
                "Bluebell|Mont Gris|Alpkase|Old Amber|Cloudy|Peppercorn|Herb Ring|Smoked Wheel|Little Brie|Hay Box|"
                "Truffle Log|Salt Moon|Goat Button|Red Rind|Velvet Cap|Stone Age",
                "name",
                "cheese name",
            ),
            link("dairy_id", "dairies"),
            category("milk_type", "cow|goat|sheep", "milk type", such="made from {} milk"),
            number("ripening", 2, 104, "ripening time", unit="weeks", most="most mature", least="least mature"),
            number("fat_content", 18, 62, "fat content", step=1, unit="percent", most="fattest", least="leanest"),
            by="from",
        ),
    ),
    domain(
        "escape_rooms",
        table(
            "escape_rooms",
            "escape room",
            name(
                "name",
                "The Vault|Tomb of Ra|Mad Lab|Prison Break|Haunted Attic|Pirate Hold|Spy Office|Time Machine|"
                "Ghost Train|Alien Ship|Sherlock|Bank Job|Submarine|Dragon Cave",
            ),
            category("theme", "horror|adventure|mystery"),
            number("puzzles", 5, 28, "number of puzzles", counted="puzzles", sums=True),
            number("time_limit", 40, 120, "time limit", step=5, unit="minutes"),
            number("success_rate", 8, 92, "success rate", unit="percent", most="easiest", least="hardest"),
            category("actor", "zombie|butler|guard", "live actor", missing=True),
            rows=14,
        ),
    ),
    domain(
        "chess_federation",
        table(
            "chess_clubs",
            "chess club",
            name(
                "name",
                "Black Knights|Queen Side|Rook House|The Gambit|Bishop Square|Pawn Storm|En Passant|Castle Corner|"
                "Check Mates|Endgame",
            ),
            category("meeting_place", FEW_CITIES, "meeting place", such="meeting in {}"),
            number("annual_dues", 15, 160, "annual fee", "yearly fee", step=5),
            rows=10,
        ),
        table(
            "chess_players",
            "chess player",
            name("player_name", PEOPLE, "name", "player name"),
            link("chess_club_id", "chess_clubs"),
            category("opening", "Sicilian|Caro-Kann|Queen's Gambit|London", "favourite opening"),
            number("elo", 1100, 2650, "Elo rating", "Elo", step=5, most="strongest", least="weakest"),
            number("draws", 0, 60, "number of draws", counted="draws", sums=True),
            person=True,
            by="of",
        ),
    ),
)
