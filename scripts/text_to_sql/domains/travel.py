"""Domains to learn from: journeys, vehicles and sports. It knows the words, not the questions."""

from __future__ import annotations

from text_to_sql.pools import CITIES, COUNTRIES, FEW_CITIES, FEW_COUNTRIES, PEOPLE
from text_to_sql.schema import category, day, domain, link, name, number, table, year

TRAVEL = (
    domain(
        "flights",
        table(
            "airlines",
            "airline",
            name(
                "name",
                "Blue Wings|Polar Air|Sunjet|Condor Sky|Trans Alps|Pacific Star|Red Kite Air|Aero Lusa|Northlink|"
                "Gulf Swift",
            ),
            category("country", FEW_COUNTRIES, such="from {}"),
            number(
                "fleet_size",
                6,
                240,
                "fleet size",
                "number of planes",
                step=2,
                most="largest",
                least="smallest",
                sums=True,
            ),
            rows=10,
        ),
        table(
            "flights",
            "flight",
            name(
                "flight_number",
                tuple(f"{a}{n}" for a in ("BW", "PA", "SJ") for n in range(104, 990, 149)),
                "flight number",
            ),
            link("airline_id", "airlines"),
            category("origin", CITIES[:4], "origin", such="departing from {}"),
            category("destination", CITIES[4:8], "destination", such="going to {}"),
            number("distance", 300, 9500, unit="km", step=50, most="longest", least="shortest", sums=True),
            number(
                "fare", 40, 900, "fare", "ticket price", step=5, verb="cost", most="most expensive", least="cheapest"
            ),
            by="of",
        ),
    ),
    domain(
        "airports",
        table(
            "airports",
            "airport",
            name("name", tuple(f"{city} {kind}" for city in CITIES for kind in ("International", "Municipal"))),
            category("country", COUNTRIES, such="in {}"),
            number("runways", 1, 6, "number of runways", counted="runways", sums=True),
            number("elevation", 2, 1900, "elevation", "altitude", unit="m", most="highest", least="lowest"),
            number("passengers", 1, 90, "number of passengers", most="busiest", least="quietest", sums=True),
            rows=14,
        ),
    ),
    domain(
        "hotels",
        table(
            "hotels",
            "hotel",
            name(
                "name",
                "Grand Plaza|Sea Breeze|Mountain Inn|City Lodge|Royal Garden|Palm Court|Old Mill Inn|Harbour View|"
                "The Linden|Snow Peak",
            ),
            category("city", FEW_CITIES, such="in {}"),
            number("stars", 1, 5, "number of stars", counted="stars"),
            rows=10,
            key="hotel_id",
        ),
        table(
            "guests",
            "guest",
            name("name", PEOPLE),
            link("hotel_id", "hotels", "hotel_id"),
            number("nights", 1, 14, "number of nights", counted="nights", sums=True),
            number("bill", 60, 2900, "bill", step=10, most="most expensive", sums=True),
            day("arrived", 2023, 2024, "arrival date", did="arrived"),
            key="guest_id",
            person=True,
            by="at",
        ),
    ),
    domain(
        "railway",
        table(
            "trains",
            "train",
            name(
                "name",
                "Night Arrow|Alpine Star|Coast Liner|Silver Bullet|Valley Hopper|Red Comet|Lake Express|Desert Queen|"
                "Iron Duke|Green Flash|City Sprinter|Royal Mail|Fox|Blue Danube",
            ),
            category("service", "express|regional|night"),
            number("top_speed", 90, 330, "top speed", step=5, unit="km/h", most="fastest", least="slowest"),
            number("coaches", 2, 16, "number of coaches", counted="coaches", sums=True),
            year("built", 1975, 2021, "construction year", did="were built"),
            rows=14,
        ),
    ),
    domain(
        "car_rental",
        table(
            "drivers",
            "driver",
            name("name", PEOPLE),
            category("licence_class", "B|C|D", "licence class"),
            number("age", 19, 75, most="oldest", least="youngest"),
            person=True,
        ),
        table(
            "rentals",
            "rental",
            name("contract_number", tuple(f"C{n}" for n in range(3005, 9900, 271)), "contract number"),
            link("driver_id", "drivers"),
            category("car_class", "small|family|luxury", "car class"),
            number(
                "days",
                1,
                21,
                "number of days",
                counted="days",
                verb="last",
                unit="days",
                most="longest",
                least="shortest",
                sums=True,
            ),
            day("returned_on", 2023, 2024, "return date", did="were returned", missing=True),
            by="by",
        ),
    ),
    domain(
        "guided_tours",
        table(
            "guides",
            "guide",
            name("name", PEOPLE),
            category("language", "English|French|Arabic"),
            number("rating", 3, 5, step=0.1, most="best rated", least="worst rated"),
            person=True,
        ),
        table(
            "tours",
            "tour",
            name(
                "title",
                "Old Town Walk|Castle by Night|Wine Trail|Street Art|River Cruise|Ghost Tour|Food Market|"
                "Hidden Courts|Sunset Hike|Royal Palaces|Jewish Quarter|Harbour Loop|Roman Ruins|Bike Tour|"
                "Museum Mile|Tower Climb",
            ),
            link("guide_id", "guides"),
            number("price", 8, 95, step=1, verb="cost", most="most expensive", least="cheapest"),
            number("group_size", 4, 40, "group size", most="largest", least="smallest"),
            category("season", "spring|summer|winter", such="offered in {}"),
            by="led by",
        ),
    ),
    domain(
        "campsites",
        table(
            "campsites",
            "campsite",
            name(
                "name",
                "Pine Camp|Lakeside|Blue Lagoon|Eagle Rock|Sandy Bay|Old Oak|Sunrise Hill|Green Valley|Wild River|"
                "Bear Creek|Silver Beach|Cliff Top|Fern Dale|Moon Field",
            ),
            category("terrain", "beach|forest|mountain"),
            number(
                "pitches",
                15,
                320,
                "number of pitches",
                step=5,
                counted="pitches",
                most="largest",
                least="smallest",
                sums=True,
            ),
            number("nightly_rate", 8, 60, "nightly rate", step=1, verb="cost", most="most expensive", least="cheapest"),
            category("pool", "indoor|outdoor", "pool", missing=True),
            rows=14,
        ),
    ),
    domain(
        "hiking",
        table(
            "national_parks",
            "national park",
            name(
                "name",
                "Grey Peaks|Silver Lakes|Eagle Canyon|Cloud Forest|Red Dunes|Fjord Coast|Bear Valley|Ice Fields|"
                "Lava Plains|Fern Gorge",
            ),
            category("country", FEW_COUNTRIES, such="in {}"),
            number("entry_fee", 2, 40, "entry fee", step=1, most="most expensive", least="cheapest"),
            rows=10,
        ),
        table(
            "trails",
            "trail",
            name(
                "name",
                "Ridge Loop|Falls Path|Summit Way|Lake Circuit|Old Mine Track|Goat Trail|Pine Walk|Canyon Rim|"
                "Glacier View|Meadow Link|Shepherd Route|Fox Path|Sunset Point|Bog Boardwalk|Crater Walk|Hermit Path",
            ),
            link("park_id", "national_parks"),
            number("length", 2, 42, unit="km", step=0.5, most="longest", least="shortest", sums=True),
            number("climb", 20, 1500, "climb", "total climb", step=10, unit="m", sums=True),
            category("difficulty", "easy|moderate|hard"),
            by="in",
        ),
    ),
    domain(
        "football_league",
        table(
            "clubs",
            "club",
            name(
                "name",
                "Rovers|United Stars|Athletic Bay|Real Norte|Dynamo West|Harbour FC|Wanderers|Red Lions|Olympic Sud|"
                "Albion",
            ),
            category("city", FEW_CITIES, such="from {}"),
            year("founded", 1890, 1970, "founding year", did="were founded"),
            rows=10,
            key="club_id",
        ),
        table(
            "footballers",
            "footballer",
            name("name", PEOPLE),
            link("club_id", "clubs", "club_id"),
            category("position", "goalkeeper|defender|midfielder|striker", such="playing as {}"),
            number("goals", 0, 45, "number of goals", counted="goals", sums=True),
            number("market_value", 1, 90, "market value", "value", most="most valuable", sums=True),
            key="footballer_id",
            person=True,
            by="of",
        ),
    ),
    domain(
        "cycling",
        table(
            "cycling_teams",
            "team",
            name(
                "name",
                "Velo Max|Team Alpine|Sprint Kings|Blue Chain|Peloton Nine|Rapid Wheels|Green Jersey|Tempo|"
                "Crank Force|Iron Climb",
            ),
            category("country", FEW_COUNTRIES, such="from {}"),
            number("budget", 2, 48, most="richest", sums=True),
            rows=10,
        ),
        table(
            "riders",
            "rider",
            name("name", PEOPLE),
            link("team_id", "cycling_teams"),
            category("role", "climber|sprinter|helper"),
            number(
                "stage_wins", 0, 30, "number of stage wins", counted="stage wins", most="most successful", sums=True
            ),
            number("height", 160, 200, unit="cm", most="tallest", least="shortest"),
            person=True,
            by="of",
        ),
    ),
    domain(
        "swimming",
        table(
            "swimmers",
            "swimmer",
            name("name", PEOPLE),
            category("stroke", "butterfly|backstroke|freestyle"),
            category("country", COUNTRIES, such="from {}"),
            number("best_time", 21, 64, "best time", step=0.1, unit="seconds", most="slowest", least="fastest"),
            number("medals", 0, 25, "number of medals", counted="medals", sums=True),
            person=True,
            rows=16,
        ),
    ),
    domain(
        "tennis_academy",
        table(
            "coaches",
            "coach",
            name("name", PEOPLE),
            category("surface", "clay|grass|hard court"),
            number("titles", 0, 30, "number of titles", counted="titles", sums=True),
            plural="coaches",
            person=True,
        ),
        table(
            "juniors",
            "junior",
            name("name", PEOPLE),
            link("coach_id", "coaches"),
            number("ranking", 1, 200),
            category("hand", "left|right", "playing hand"),
            day("born_on", 2005, 2011, "date of birth", did="were born"),
            category("racket_sponsor", "Tecno|Volley|Prime", "racket sponsor", missing=True),
            person=True,
            by="trained by",
        ),
    ),
)
