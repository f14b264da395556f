"""Held-out domains of land, sea and sky: no table, and no column but ``id`` and ``name``, is in one to learn from."""

from __future__ import annotations

from text_to_sql.pools import CITIES, PEOPLE, PHONES, STREETS
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

HELD_OUT_NATURE = (
    domain(
        "lighthouse_service",
        table(
            "lighthouses",
            "lighthouse",
            name(
                "name",
                "Cape Grim|Black Rock|Gull Point|Mermaid Reef|North Foreland|Storm Head|Pearl Island|Old Lantern|"
                "Seal Skerry|Wreck Bay|Anchor Tip|Fog Cape|Whale Ness|Sand Spit",
            ),
            category("coast", "Atlantic|Baltic|Adriatic", such="on the {} coast"),
            number("tower_height", 8, 75, "tower height", unit="m", most="tallest", least="shortest"),
            year("lit_since", 1790, 1960, "first year of light", did="were first lit"),
            number("lamp_range", 6, 34, "lamp range", "range of the lamp", unit="miles"),
            text("lamp_warden", PEOPLE, "lamp warden", "warden", missing=True),
            rows=14,
        ),
    ),
    domain(
        "apiary",
        table(
            "beekeepers",
            "beekeeper",
            name("name", PEOPLE),
            category("valley", "Aosta|Loire|Soca|Rhone", such="from the {} valley"),
            number("years_active", 1, 45, "years of activity", most="most seasoned"),
            person=True,
        ),
        table(
            "hives",
            "hive",
            name("hive_code", tuple(f"Z{n}" for n in range(12, 99, 4)), "hive code", "code"),
            link("beekeeper_id", "beekeepers"),
            category("bee_race", "Carniolan|Italian|Buckfast", "bee race"),
            number("honey_yield", 4, 62, "honey yield", "yield", unit="kg", most="most productive", sums=True),
            number("frames", 6, 24, "number of frames", counted="frames", sums=True),
            by="of",
        ),
    ),
    domain(
        "volcano_watch",
        table(
            "volcanoes",
            "volcano",
            name(
                "name",
                "Mount Karu|Pico Alto|Tolima Negra|Old Smoker|Katora|Isla Fuego|Red Cone|Vulcan Sur|Black Dome|"
                "Sierra Humo|Ember Peak|Grand Crater|Ash Mountain|Kilo Nui",
            ),
            category("archipelago", "Azores|Kurils|Canaries", such="in the {}"),
            number("summit", 400, 4900, "summit height", unit="m", step=10, most="highest", least="lowest"),
            number("crater_width", 50, 2400, "crater width", unit="m", step=10, most="widest", least="narrowest"),
            year("last_eruption", 1650, 2021, "last eruption", did="last erupted", missing=True),
            category("alert", "calm|watch|danger", "alert level", such="on {} alert"),
            plural="volcanoes",
            rows=14,
        ),
    ),
    domain(
        "space_agency",
        table(
            "space_agencies",
            "agency",
            name(
                "name",
                "Stella Nova|Orbital One|Cosmo Norte|Lunar Union|Polar Space|Helios Group|Astra West|Zenith Org|"
                "Vega Institute|Comet Board",
            ),
            category("headquarters", CITIES[1:5], such="based in {}"),
            number("yearly_funding", 20, 900, "yearly funding", "funding", step=5, sums=True),
            plural="agencies",
            key="agency_id",
            rows=10,
        ),
        table(
            "satellites",
            "satellite",
            name(
                "satellite_name",
                "Argus 1|Beacon 2|Celeste|Dione 4|Eos|Falke 3|Gaia Minor|Hera 7|Icarus|Juno B|Kepler Mini|Lyra 5|"
                "Merlin|Nadir 2|Osiris|Pallas 9",
                "name",
                "satellite name",
            ),
            link("agency_id", "space_agencies", "agency_id"),
            category("orbit", "polar|equatorial|geostationary", such="in a {} orbit"),
            number("mass", 40, 6200, unit="kg", step=10, most="heaviest", least="lightest", sums=True),
            day("launched", 2008, 2023, "launch date", did="were launched"),
            key="satellite_id",
            by="of",
        ),
    ),
    domain(
        "observatory",
        table(
            "telescopes",
            "telescope",
            name(
                "name",
                "Big Eye|Owl|Zenith Scope|Twin Mirror|Polar Eye|Night Watch|Small Bear|Giant Lens|Dome Nine|Sky Hunter",
            ),
            category("mounting", "fork|dobson|alt-azimuth", "mounting type", "mounting"),
            number("mirror", 20, 820, "mirror size", unit="cm", step=5, most="largest", least="smallest"),
            rows=10,
        ),
        table(
            "sightings",
            "sighting",
            name(
                "object_name",
                "Comet Ares|Nebula 12|Nova K|Ring Galaxy|Dwarf Star 8|Comet Boro|Pulsar T|Asteroid 77|Quasar M|"
                "Twin Cluster|Red Giant 3|Comet Lind|Dark Cloud|Moonlet 5|Spiral 9|Halo X",
                "object",
                "object name",
            ),
            link("telescope_id", "telescopes"),
            category("constellation", "Orion|Lyra|Cygnus|Draco", such="in {}"),
            number("brightness", 1, 18, step=0.5, most="brightest", least="faintest"),
            day("seen_on", 2021, 2024, "sighting date", did="were seen"),
            by="made with",
        ),
    ),
    domain(
        "vet_practice",
        table(
            "pet_owners",
            "owner",
            name("name", PEOPLE),
            category("street", STREETS[:4], such="living on {}"),
            text("mobile", PHONES, "mobile number", missing=True),
            person=True,
        ),
        table(
            "pets",
            "pet",
            name(
                "pet_name",
                "Whiskers|Pebbles|Shadow|Ginger|Tiger|Snowball|Pepper|Fluffy|Cookie|Biscuit|Oreo|Mango|Pumpkin|Smokey|"
                "Peanut|Waffle",
                "name",
                "pet name",
            ),
            link("owner_id", "pet_owners"),
            category("animal_type", "cat|rabbit|hamster|dog", "animal type", "type of animal"),
            number("visits", 1, 26, "number of visits", counted="visits", sums=True),
            day("vaccinated_on", 2021, 2024, "vaccination date", did="were vaccinated", missing=True),
            by="of",
        ),
    ),
    domain(
        "ski_region",
        table(
            "ski_resorts",
            "resort",
            name(
                "name",
                "Snowdale|White Valley|Eagle Top|Crystal Ridge|Frost Bowl|Powder Peak|Alpenhof|Silver Run|Polar Glade|"
                "Ice Meadow",
            ),
            category("canton", "Valais|Uri|Bern", such="in {}"),
            number("lifts", 3, 48, "number of lifts", counted="lifts", most="largest", least="smallest", sums=True),
            rows=10,
        ),
        table(
            "slopes",
            "slope",
            name(
                "slope_name",
                "Bunny Hill|Widowmaker|Easy Street|The Wall|Panorama|Black Diamond|Family Run|Couloir|Sunny Side|"
                "Devil Drop|Nursery|Rocket|Lazy Bear|Skyline|Mogul Field|Glacier Run",
                "name",
                "slope name",
            ),
            link("resort_id", "ski_resorts"),
            category("grading", "green|blue|red|black", such="graded {}"),
            number("vertical_drop", 60, 1200, "vertical drop", unit="m", step=10, most="steepest", least="flattest"),
            number("snow_guns", 0, 45, "number of snow guns", counted="snow guns", sums=True),
            by="in",
        ),
    ),
    domain(
        "fossil_digs",
        table(
            "excavations",
            "excavation",
            name(
                "name",
                "Dry Creek|Bone Hill|Red Gulch|Chalk Pit|Amber Cliff|Lost Canyon|Slate Quarry|Fern Bed|Clay Bank|"
                "White Badlands",
            ),
            category("desert", "Gobi|Karoo|Mojave", such="in the {} desert"),
            number("dig_depth", 2, 60, "dig depth", "depth", unit="m", most="deepest", least="shallowest"),
            rows=10,
        ),
        table(
            "fossils",
            "fossil",
            name(
                "specimen",
                "Spike|Old Tooth|Big Claw|Tiny|Longneck|Ridgeback|Ghost|Razor|Plate Six|Nessie|Horn Two|Stripe|"
                "Shellback|Glider|Crest|Egg Nine",
            ),
            link("excavation_id", "excavations"),
            category("era", "Jurassic|Triassic|Cretaceous", such="from the {}"),
            number("bones", 1, 240, "number of bones", counted="bones", sums=True),
            day("unearthed", 2010, 2023, "discovery date", did="were unearthed"),
            by="from",
        ),
    ),
    domain(
        "wind_power",
        table(
            "wind_farms",
            "wind farm",
            name(
                "name",
                "Windy Ridge|Gale Coast|Breeze Hill|High Moor|Long Dune|Storm Flats|Open Fen|Cliff Edge|Bare Top|"
                "Salt Marsh",
            ),
            category("county", "Kerry|Clare|Mayo", such="in {}"),
            number("grid_distance", 1, 60, "distance to the grid", unit="km"),
            rows=10,
        ),
        table(
            "turbines",
            "turbine",
            name("serial", tuple(f"T-{n}" for n in range(410, 990, 31)), "serial number", "serial"),
            link("wind_farm_id", "wind_farms"),
            number("blade_length", 22, 85, "blade length", unit="m", most="biggest", least="smallest"),
            number(
                "output",
                300,
                4800,
                "output",
                unit="kW",
                step=50,
                most="most powerful",
                least="least powerful",
                sums=True,
            ),
            day("inspected", 2021, 2024, "inspection date", did="were inspected", missing=True),
            by="of",
        ),
    ),
)
