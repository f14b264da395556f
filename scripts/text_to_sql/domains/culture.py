"""Domains to learn from: books, films, music, art and games. It knows the words, not the questions."""

from __future__ import annotations

from text_to_sql.pools import CITIES, COMPANIES, COUNTRIES, FEW_CITIES, FEW_COUNTRIES, PEOPLE
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

CULTURE = (
    domain(
        "public_library",
        table(
            "authors",
            "author",
            name("name", PEOPLE),
            category("country", COUNTRIES, such="from {}"),
            year("birth_year", 1935, 1990, "birth year", "year of birth", did="were born", most="youngest"),
            person=True,
        ),
        table(
            "books",
            "book",
            name(
                "title",
                "The Silent Harbor|Night Garden|The Last Ferry|Winter Letters|The Salt Road|A Quiet Storm|"
                "Paper Lanterns|The Glass Orchard|River of Ash|The Clockmaker|Blue Meridian|The Hollow Hill|"
                "Stone and Sky|Autumn Trains|The Iron Crown|Moonlit Harbor|Small Kingdoms|The Wolf Winter",
            ),
            link("author_id", "authors"),
            category("genre", "Fantasy|Crime|History|Poetry", "genre", "type"),
            number(
                "pages", 90, 900, "number of pages", "page count", step=10, counted="pages", most="longest", sums=True
            ),
            number("price", 5, 45, step=0.5, verb="cost", most="most expensive", least="cheapest"),
            by="by",
        ),
    ),
    domain(
        "cinema",
        table(
            "directors",
            "director",
            name("name", PEOPLE),
            category("nationality", "French|Korean|Italian|Indian"),
            number("awards", 0, 14, "number of awards", counted="awards", sums=True),
            person=True,
        ),
        table(
            "films",
            "film",
            name(
                "title",
                "Red Horizon|The Long Winter|City of Echoes|Falling Upward|The Ninth Door|Gravel Road|Sunday Market|"
                "Midnight Express Lane|The Green Room|A Thousand Miles|Broken Compass|Velvet Sky|The Understudy|"
                "Lost Signal|House of Rain|Second Sunrise|The Wedding Guest|Deep Water",
                "title",
                "name",
            ),
            link("director_id", "directors"),
            year("release_year", 1985, 2023, "release year", did="were released"),
            number(
                "minutes",
                75,
                200,
                "running time",
                "length",
                verb="last",
                unit="minutes",
                most="longest",
                least="shortest",
            ),
            number("box_office", 2, 900, "box office", "earnings", sums=True),
            by="by",
        ),
    ),
    domain(
        "record_shop",
        table(
            "bands",
            "band",
            name(
                "name",
                "The Velvet Foxes|Night Trains|Paper Tigers|Iron Lake|Solar Drift|The Hummingbirds|Copper Sky|"
                "Loud Ocean|Silver Moths|Riverhead|The Postmen|Cold Embers",
            ),
            category("city", FEW_CITIES, such="from {}"),
            year("formed", 1970, 2018, "founding year", did="were formed"),
        ),
        table(
            "albums",
            "album",
            name(
                "title",
                "First Light|Echo Park|Golden Hour|Static Dreams|Open Roads|Northern Lines|Slow Motion|Parallel|"
                "Afterglow|Harbor Songs|Neon Rain|Undertow|Kites|Long Division|The Attic Tapes|Wildfire|Blue Static|"
                "Homecoming",
            ),
            link("band_id", "bands"),
            category("style", "Rock|Jazz|Folk|Electronic"),
            number("tracks", 6, 22, "number of tracks", counted="tracks", sums=True),
            number("price", 8, 40, step=0.5, verb="cost", most="most expensive", least="cheapest"),
            by="by",
        ),
    ),
    domain(
        "museum",
        table(
            "galleries",
            "gallery",
            name(
                "name",
                "North Hall|Rotunda|Long Gallery|East Wing|Cabinet Room|Garden Court|Tower Room|West Wing|Crypt|"
                "Skylight Hall",
            ),
            category("floor", "ground|first|second", such="on the {} floor"),
            number("area", 40, 600, "area", "size", step=10, most="largest", least="smallest", sums=True),
            plural="galleries",
            rows=10,
        ),
        table(
            "exhibits",
            "exhibit",
            name(
                "name",
                "Bronze Lion|Amber Comb|Painted Shield|Marble Head|Sun Disc|Ivory Flute|Oak Throne|Silver Bowl|"
                "Clay Horse|Gold Mask|Iron Helmet|Glass Beads|Stone Calendar|Carved Door|Jade Ring|Copper Lamp|"
                "Wooden Mask|Bronze Bell",
            ),
            link("gallery_id", "galleries"),
            category("material", "bronze|stone|wood|gold", such="made of {}"),
            year("made_in", 1100, 1890, "year of origin", did="were made"),
            number("insured_value", 500, 90000, "insured value", "value", step=500, most="most valuable", sums=True),
            by="in",
        ),
    ),
    domain(
        "theatre",
        table(
            "theatres",
            "theatre",
            name(
                "name",
                "Grand Palace|Old Vic House|Riverside Stage|Royal Court|Little Globe|Lyric|Apollo|Garrick|Athena|"
                "Majestic",
            ),
            category("city", FEW_CITIES, such="in {}"),
            number(
                "seats",
                80,
                1800,
                "number of seats",
                step=20,
                counted="seats",
                most="largest",
                least="smallest",
                sums=True,
            ),
            rows=10,
        ),
        table(
            "plays",
            "play",
            name(
                "title",
                "The Cherry Thief|Two Brothers|A Cold Supper|The Magistrate|Summer Ghosts|Paper Crown|The Tailor|"
                "Dear Rival|The Bell Ringer|Old Debts|The Empty Chair|Market Day|Fools and Kings|The Envoy|"
                "Silent Partners|Rain Check",
            ),
            link("theatre_id", "theatres"),
            text("playwright", PEOPLE),
            number("acts", 1, 5, "number of acts", counted="acts", sums=True),
            day("premiere", 2018, 2024, "premiere date", did="premiered"),
            by="at",
        ),
    ),
    domain(
        "music_festival",
        table(
            "stages",
            "stage",
            name(
                "name",
                "Main Stage|Forest Stage|Beach Tent|Sunset Dome|Acoustic Corner|Lake Stage|Barn|Circus Tent|"
                "Hill Stage|Silent Disco",
            ),
            number("capacity", 200, 30000, step=100, most="largest", least="smallest", sums=True),
            category("sponsor", "Radio Nine|Fizz Cola|City Bank", missing=True),
            rows=10,
        ),
        table(
            "concerts",
            "concert",
            name("artist", PEOPLE),
            link("stage_id", "stages"),
            category("weekday", "Friday|Saturday|Sunday", "weekday", "day", such="on {}"),
            number("ticket_price", 15, 120, "ticket price", "admission", step=5),
            number("attendance", 150, 25000, "attendance", "number of visitors", step=50, sums=True),
            by="on",
        ),
    ),
    domain(
        "comic_store",
        table(
            "publishers",
            "publisher",
            name("name", COMPANIES),
            category("country", FEW_COUNTRIES, such="from {}"),
            year("founded", 1930, 2015, "founding year", did="were founded"),
        ),
        table(
            "comics",
            "comic",
            name(
                "title",
                "Captain Volt|Moon Rangers|The Crimson Owl|Doctor Static|Pixel Knights|Night Falcon|Robo Cat|"
                "Star Wardens|The Green Ghost|Turbo Girl|Shadow League|Atomic Dog|The Iron Monk|Galaxy Kids|"
                "Steel Wing|Lady Thunder",
            ),
            link("publisher_id", "publishers"),
            number("issue", 1, 90, "issue number"),
            number("cover_price", 2, 20, "cover price", step=0.5),
            category("condition", "mint|good|worn", such="in {} condition"),
            by="from",
        ),
    ),
    domain(
        "podcasts",
        table(
            "shows",
            "show",
            name(
                "name",
                "Daily Orbit|Kitchen Talk|Hidden Maps|Money Minutes|Deep Roots|The Night Desk|Small Talk|"
                "Code Breakers|Green Thumbs|History Lane",
            ),
            category("topic", "science|food|business|history", such="about {}"),
            text("host", PEOPLE),
            rows=10,
        ),
        table(
            "episodes",
            "episode",
            name(
                "title",
                "Pilot|Lost Cities|The Big Freeze|Bread and Butter|Bull Market|Ocean Floor|Second Chances|The Vault|"
                "Spice Routes|Black Holes|Street Food|Royal Secrets|Garage Start|The Long Walk|Fungi|Open Questions",
            ),
            link("show_id", "shows"),
            day("aired", 2020, 2024, "air date", did="aired"),
            number("duration", 15, 120, unit="minutes", verb="last", most="longest", least="shortest", sums=True),
            number(
                "downloads",
                300,
                90000,
                "number of downloads",
                step=100,
                counted="downloads",
                most="most popular",
                sums=True,
            ),
            by="of",
        ),
    ),
    domain(
        "photo_agency",
        table(
            "photographers",
            "photographer",
            name("name", PEOPLE),
            category("home_town", FEW_CITIES, "home town", such="from {}"),
            number("day_rate", 150, 900, "day rate", "daily rate", step=10),
            person=True,
        ),
        table(
            "photos",
            "photo",
            name(
                "caption",
                "Misty Valley|Market at Dawn|Red Umbrella|Two Chairs|Harbor Lights|Snow Fence|Old Hands|Desert Road|"
                "Blue Door|Crowded Tram|Summer Roof|Still Pond|Paper Boats|Neon Alley|The Climb|First Frost",
            ),
            link("photographer_id", "photographers"),
            category("subject", "portrait|landscape|street|wildlife"),
            day("taken_on", 2015, 2023, "date", did="were taken"),
            number("downloads", 10, 5000, "number of downloads", step=10, counted="downloads", sums=True),
            by="by",
        ),
    ),
    domain(
        "game_cafe",
        table(
            "board_games",
            "board game",
            name(
                "name",
                "Castle Builders|Space Traders|Word Storm|Dragon Pass|Harvest Moon|Pirate Cove|Code Red|Tiny Towns|"
                "Sky Bridge|Lost Temple|Market Kings|Frost Giants|Night Train|Ocean Quest",
            ),
            category("mechanic", "cards|dice|tiles|drafting"),
            number("max_players", 2, 10, "maximum number of players"),
            number("play_time", 15, 240, "playing time", step=5, unit="minutes", most="longest", least="shortest"),
            number("rating", 4, 9.8, "rating", "score", step=0.1, most="best rated", least="worst rated"),
            rows=14,
        ),
    ),
    domain(
        "game_studio",
        table(
            "studios",
            "studio",
            name("name", COMPANIES),
            category("country", FEW_COUNTRIES, such="from {}"),
            number(
                "staff", 5, 900, "number of staff", "staff size", step=5, most="largest", least="smallest", sums=True
            ),
        ),
        table(
            "video_games",
            "video game",
            name(
                "title",
                "Solar Siege|Mech Arena|Farm Story|Dungeon Loop|Rally Kings|Puzzle Bay|Ghost Runner Zero|Island Days|"
                "Void Pilot|Kart Mania|Rune Quest|Sky Farmers|Bomb Squad|Silent Woods|Hero Academy|Drift City",
            ),
            link("studio_id", "studios"),
            category("platform", "PC|console|mobile", such="for {}"),
            number("score", 40, 98, "review score", "score", most="best rated", least="worst rated"),
            number("copies_sold", 1000, 900000, "number of copies sold", step=1000, sums=True),
            by="by",
        ),
    ),
    domain(
        "art_collection",
        table(
            "artists",
            "artist",
            name("name", PEOPLE),
            category("birthplace", CITIES[5:10], such="born in {}"),
            category("movement", "Cubism|Realism|Surrealism"),
            person=True,
        ),
        table(
            "paintings",
            "painting",
            name(
                "title",
                "Blue Nude|The Harvest|Woman with Fan|Grey Bridge|Three Pears|Morning Fog|The Card Game|Red Boats|"
                "Self-Portrait|Yellow House|Storm at Sea|The Reader|White Vase|Evening Street|The Dance|Frozen Lake",
            ),
            link("artist_id", "artists"),
            category("technique", "oil|watercolor|tempera", such="in {}"),
            number("width", 20, 300, unit="cm", most="widest", least="narrowest"),
            number("estimate", 1000, 95000, "estimated value", "estimate", step=1000, most="most valuable", sums=True),
            by="by",
        ),
    ),
    domain(
        "newspaper",
        table(
            "journalists",
            "journalist",
            name("name", PEOPLE),
            category("desk", "sports|politics|culture"),
            day("hired", 2008, 2023, "hiring date", did="were hired"),
            person=True,
        ),
        table(
            "articles",
            "article",
            name(
                "headline",
                "Bridge Reopens|Mayor Resigns|Storm Hits Coast|Team Wins Cup|New Tram Line|Prices Rise Again|"
                "Museum Robbed|School Strike Ends|River Floods Town|Startup Sold|Film Prize Awarded|Old Mill Burns|"
                "Record Heat|Market Moves",
            ),
            link("journalist_id", "journalists"),
            number(
                "words",
                200,
                3000,
                "number of words",
                "word count",
                step=50,
                counted="words",
                most="longest",
                least="shortest",
                sums=True,
            ),
            number("comments", 0, 400, "number of comments", counted="comments", sums=True),
            day("published", 2021, 2024, "publication date", did="were published"),
            by="by",
        ),
    ),
)
