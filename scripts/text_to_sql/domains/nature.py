"""Domains to learn from: animals, plants, weather and the sciences. It knows the words, not the questions."""

from __future__ import annotations

from text_to_sql.pools import COUNTRIES, FEW_COUNTRIES, PEOPLE
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

NATURE = (
    domain(
        "zoo",
        table(
            "enclosures",
            "enclosure",
            name(
                "name",
                "Savanna|Bird House|Reptile House|Polar World|Monkey Island|Night House|Elephant Park|Big Cats|"
                "Petting Yard|Wetlands",
            ),
            number("area", 100, 9000, "area", step=100, most="largest", least="smallest", sums=True),
            text("keeper", PEOPLE, missing=True),
            rows=10,
        ),
        table(
            "animals",
            "animal",
            name("name", "Leo|Nala|Bongo|Kiki|Rex|Luna|Simba|Daisy|Bruno|Tara|Momo|Zara|Pico|Suki|Otto|Mira|Coco|Juno"),
            link("enclosure_id", "enclosures"),
            category("kind", "lion|parrot|seal|monkey|bear", "kind", "species"),
            number("weight", 1, 900, unit="kg", verb="weigh", most="heaviest", least="lightest", sums=True),
            year("born_in", 1998, 2023, "birth year", did="were born", most="youngest"),
            by="in",
        ),
    ),
    domain(
        "botanical_garden",
        table(
            "greenhouses",
            "greenhouse",
            name(
                "name",
                "Palm House|Cactus House|Orchid Hall|Fern Room|Water Garden|Alpine House|Tropical Dome|Desert Room|"
                "Citrus House|Moss Room",
            ),
            number("temperature", 8, 34, unit="degrees", most="warmest", least="coldest"),
            category("climate", "tropical|dry|alpine"),
            rows=10,
        ),
        table(
            "plants",
            "plant",
            name(
                "name",
                "Sago Palm|Golden Barrel|Moth Orchid|Tree Fern|Giant Lily|Edelweiss|Banana|Agave|Lemon Tree|Peat Moss|"
                "Rubber Tree|Aloe|Vanilla|Venus Trap|Lotus|Jade Plant",
            ),
            link("greenhouse_id", "greenhouses"),
            number("height", 2, 900, unit="cm", most="tallest", least="shortest"),
            category("continent", "Africa|Asia|Europe|America", such="from {}"),
            day("planted", 2012, 2023, "planting date", did="were planted"),
            by="in",
        ),
    ),
    domain(
        "farm",
        table(
            "fields",
            "field",
            name(
                "name",
                "River Field|Hill Field|Long Acre|Stone Field|South Meadow|Barn Field|Oak Field|Lower Ten|Fox Field|"
                "Mill Field",
            ),
            number("acres", 2, 90, "area", unit="acres", most="largest", least="smallest", sums=True),
            category("soil", "clay|sand|loam"),
            rows=10,
        ),
        table(
            "harvests",
            "harvest",
            name("batch", tuple(f"H{n}" for n in range(11, 99, 3)), "batch number", "batch"),
            link("field_id", "fields"),
            category("crop", "wheat|barley|maize|rye"),
            number("tons", 3, 160, "weight", unit="tons", verb="weigh", sums=True),
            day("cut_on", 2020, 2023, "harvest date", did="were cut"),
            by="from",
        ),
    ),
    domain(
        "weather",
        table(
            "weather_stations",
            "station",
            name(
                "name", "Summit|Harbor|Airfield|Old Town|Lakeside|Forest Edge|Desert Camp|North Cape|Glacier Hut|Island"
            ),
            number("altitude", 2, 3200, unit="m", most="highest", least="lowest"),
            category("country", FEW_COUNTRIES, such="in {}"),
            rows=10,
        ),
        table(
            "readings",
            "reading",
            name("code", tuple(f"W{n}" for n in range(305, 990, 23))),
            link("station_id", "weather_stations"),
            number("temperature", -18, 41, step=0.5, unit="degrees", most="warmest", least="coldest"),
            number("rainfall", 0, 90, "rainfall", unit="mm", most="wettest", sums=True),
            category("wind", "north|south|west"),
            by="from",
        ),
    ),
    domain(
        "chemistry",
        table(
            "elements",
            "element",
            name(
                "name",
                "Copper|Helium|Iron|Neon|Zinc|Argon|Gold|Oxygen|Lead|Carbon|Sulfur|Silver|Iodine|Nickel|Xenon|Tin",
            ),
            category("state", "solid|gas"),
            number("melting_point", -270, 1600, "melting point", unit="degrees"),
            number("density", 0.5, 22, step=0.1, most="densest", least="least dense"),
            year("discovered", 1750, 1900, "year of discovery", did="were discovered", missing=True),
            rows=16,
        ),
    ),
    domain(
        "rivers",
        table(
            "rivers",
            "river",
            name("name", "Arvo|Belten|Corra|Dunai|Elster|Fiora|Garva|Helmund|Isara|Jelva|Kamor|Lenta|Morava|Nidda"),
            category("country", COUNTRIES, such="in {}"),
            number("length", 40, 2800, unit="km", step=10, most="longest", least="shortest", sums=True),
            number("bridges", 1, 60, "number of bridges", counted="bridges", sums=True),
            category("flows_into", "Black Sea|Baltic Sea|Atlantic", "mouth", such="flowing into the {}"),
            rows=14,
        ),
    ),
    domain(
        "animal_shelter",
        table(
            "dogs",
            "dog",
            name("name", "Bella|Max|Lucky|Rocky|Molly|Buddy|Lola|Charlie|Nero|Ruby|Balu|Emma|Sam|Trixie|Argos|Fly"),
            category("breed", "terrier|poodle|collie|beagle"),
            number("age", 1, 15, unit="years", most="oldest", least="youngest"),
            number(
                "adoption_fee", 20, 300, "adoption fee", step=10, most="most expensive", least="cheapest", sums=True
            ),
            text("adopter", PEOPLE, missing=True),
            rows=16,
        ),
    ),
)
