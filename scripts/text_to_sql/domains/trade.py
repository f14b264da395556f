"""Domains to learn from: shops, goods and kitchens. It knows the words, not the questions."""

from __future__ import annotations

from text_to_sql.pools import CITIES, COMPANIES, COUNTRIES, FEW_CITIES, FEW_COUNTRIES, PEOPLE, PHONES, STREETS
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

_CODES = tuple(f"{letters}-{number}" for letters in ("AX", "BK", "CT", "DN") for number in range(101, 990, 173))

TRADE = (
    domain(
        "online_shop",
        table(
            "customers",
            "customer",
            name("name", PEOPLE),
            category("city", FEW_CITIES, such="from {}"),
            day("joined", 2017, 2023, "joining date", did="joined"),
            person=True,
        ),
        table(
            "orders",
            "order",
            name("reference", _CODES),
            link("customer_id", "customers"),
            category("status", "shipped|pending|cancelled|returned"),
            number("total", 10, 900, "total", "order value", step=5, most="largest", least="smallest", sums=True),
            day("placed_on", 2022, 2024, "order date", did="were placed"),
            by="from",
        ),
    ),
    domain(
        "warehouse",
        table(
            "suppliers",
            "supplier",
            name("name", COMPANIES),
            category("country", COUNTRIES, such="from {}"),
            text("phone", PHONES, "phone number", "phone", missing=True),
        ),
        table(
            "products",
            "product",
            name(
                "name",
                "Desk Lamp|Cable Drum|Tool Box|Wall Clock|Paper Roll|Hand Drill|Safety Vest|Paint Bucket|Step Ladder|"
                "Work Gloves|Tape Measure|Steel Bolt Set|Wood Glue|Door Handle|Power Strip|Storage Bin|Garden Hose|"
                "Hammer",
            ),
            link("supplier_id", "suppliers"),
            number(
                "unit_price",
                1,
                150,
                "unit price",
                "price",
                step=0.5,
                verb="cost",
                most="most expensive",
                least="cheapest",
            ),
            number("stock", 0, 500, "stock", "number in stock", step=5, sums=True),
            category("shelf", "A|B|C|D", such="on shelf {}"),
            by="from",
        ),
    ),
    domain(
        "bakery",
        table(
            "cakes",
            "cake",
            name(
                "name",
                "Lemon Tart|Black Forest|Carrot Cake|Honey Slice|Plum Crumble|Apple Strudel|Cheesecake|Opera|"
                "Marble Loaf|Poppy Roll|Almond Ring|Chocolate Torte|Pear Galette|Cherry Pie",
            ),
            category("topping", "cream|sugar|nuts", such="with {} on top", missing=True),
            number("price", 3, 48, step=0.5, verb="cost", most="most expensive", least="cheapest"),
            number("calories", 180, 720, "number of calories", step=10, counted="calories"),
            number("slices", 4, 16, "number of slices", counted="slices", sums=True),
            rows=14,
        ),
    ),
    domain(
        "car_dealer",
        table(
            "car_makers",
            "car maker",
            name("name", "Altera|Borealis|Corvex|Dynamo|Estrella|Falcar|Gromin|Helion|Istra|Jovian"),
            category("country", FEW_COUNTRIES, such="from {}"),
            year("founded", 1900, 2010, "founding year", did="were founded"),
            rows=10,
        ),
        table(
            "cars",
            "car",
            name(
                "model",
                "Comet|Breeze|Vista|Terra|Pulse|Nomad|Orbit|Swift|Titan|Lynx|Echo|Pioneer|Rally|Metro|Aurora|Summit|"
                "Coast|Zephyr",
            ),
            link("maker_id", "car_makers"),
            category("fuel", "petrol|diesel|electric", "fuel", "fuel type", such="running on {}"),
            number("horsepower", 60, 450, step=5, most="most powerful", least="least powerful"),
            number("price", 8000, 90000, step=500, verb="cost", most="most expensive", least="cheapest", sums=True),
            by="from",
        ),
    ),
    domain(
        "furniture_store",
        table(
            "furniture",
            "piece of furniture",
            name(
                "name",
                "Oslo Chair|Alma Table|Nord Shelf|Luna Bed|Rio Sofa|Kent Desk|Vera Lamp|Milo Stool|Ada Bench|"
                "Tilda Cabinet|Otto Wardrobe|Iris Mirror|Hugo Armchair|Mara Dresser",
            ),
            category("room", "bedroom|kitchen|office", such="for the {}"),
            category("wood", "oak|pine|beech", such="made of {}"),
            number("price", 25, 1500, step=5, verb="cost", most="most expensive", least="cheapest"),
            number("weight", 3, 95, "weight", unit="kg", verb="weigh", most="heaviest", least="lightest", sums=True),
            plural="pieces of furniture",
            rows=14,
        ),
    ),
    domain(
        "flower_shop",
        table(
            "growers",
            "grower",
            name("name", PEOPLE),
            category("region", "north|south|coast", such="from the {}"),
            number("greenhouse_count", 1, 15, "number of greenhouses", counted="greenhouses", sums=True),
            person=True,
        ),
        table(
            "flowers",
            "flower",
            name(
                "name",
                "Red Tulip|White Rose|Pink Peony|Blue Iris|Sunflower|Yellow Lily|Orange Dahlia|Purple Aster|"
                "Green Orchid|Daisy|Camellia|Marigold|Violet|Carnation|Freesia|Hyacinth",
            ),
            link("grower_id", "growers"),
            category("color", "red|white|yellow|blue", "color"),
            number(
                "stem_price", 0.5, 9, "stem price", "price per stem", step=0.1, most="most expensive", least="cheapest"
            ),
            number("stems", 10, 300, "number of stems", step=10, counted="stems", sums=True),
            by="from",
        ),
    ),
    domain(
        "pharmacy",
        table(
            "drug_makers",
            "drug maker",
            name("name", COMPANIES),
            category("country", FEW_COUNTRIES, such="from {}"),
            number("patents", 2, 120, "number of patents", counted="patents", sums=True),
        ),
        table(
            "medicines",
            "medicine",
            name(
                "name",
                "Calmex|Dolorin|Fevrosan|Gastrol|Hepatin|Immunol|Ketalin|Lumivit|Migrastop|Nasofree|Optilex|Pulmovent|"
                "Quietal|Respira|Somnex|Tussilin",
            ),
            link("drug_maker_id", "drug_makers"),
            category("form", "tablet|syrup|cream", such="sold as {}"),
            number("dose", 5, 800, "dose", step=5, unit="mg"),
            day("expires", 2024, 2028, "expiry date"),
            by="by",
        ),
    ),
    domain(
        "jewellery",
        table(
            "jewels",
            "jewel",
            name(
                "name",
                "Aurora Ring|Dawn Necklace|Luna Brooch|Vega Earrings|Stella Pendant|Iris Bracelet|Nova Tiara|"
                "Gemma Ring|Cleo Chain|Opal Cuff|Ruby Drop|Silva Band|Pearl Strand|Coral Pin",
            ),
            category("metal", "gold|silver|platinum", such="made of {}"),
            category("gem", "ruby|opal|pearl|emerald", "gemstone", "gem", missing=True),
            number("carat", 0.5, 6, step=0.1),
            number("price", 100, 9800, step=50, verb="cost", most="most expensive", least="cheapest", sums=True),
            rows=14,
        ),
    ),
    domain(
        "computer_store",
        table(
            "brands",
            "brand",
            name("name", COMPANIES),
            category("headquarters_city", CITIES[6:10], "headquarters city", such="based in {}"),
            number("warranty", 6, 60, unit="months", step=6),
        ),
        table(
            "laptops",
            "laptop",
            name(
                "model",
                "Air 11|Pro 14|Note X2|Flex 13|Ultra 15|Zen 3|Swift 5|Edge 17|Core 12|Spark 14|Nova 16|Lite 10|Max 18|"
                "Tab 11|Go 13|Duo 14",
            ),
            link("brand_id", "brands"),
            number("memory", 4, 128, unit="GB", step=4),
            number("screen_size", 10, 18, "screen size", step=0.5, unit="inches"),
            number("price", 250, 3500, step=10, verb="cost", most="most expensive", least="cheapest"),
            by="from",
        ),
    ),
    domain(
        "shoe_shop",
        table(
            "shoes",
            "shoe",
            name(
                "model",
                "Trail Runner|City Loafer|Beach Slide|Alpine Boot|Court Pro|Desert Boot|Ballet Flat|Rain Boot|"
                "Snow Step|Sprint X|Deck Shoe|Clog|Moccasin|High Top",
            ),
            category("color", "black|brown|white|blue", "color"),
            category("season", "summer|winter|autumn", such="for {}"),
            number("price", 20, 260, step=5, verb="cost", most="most expensive", least="cheapest"),
            number("pairs", 0, 80, "number of pairs", counted="pairs", sums=True),
            rows=14,
        ),
    ),
    domain(
        "tea_house",
        table(
            "teas",
            "tea",
            name(
                "name",
                "Jade Mist|Royal Assam|Smoky Pine|Morning Dew|Golden Tip|White Peony|Iron Goddess|Mint Garden|"
                "Earl Blend|Sencha|Rose Petal|Dragon Well|Spiced Chai|Night Camomile",
            ),
            category("kind", "green|black|herbal|white"),
            category("origin", "China|India|Japan|Kenya", such="from {}"),
            number("brewing_time", 1, 12, "brewing time", unit="minutes", step=0.5),
            number("price", 3, 40, step=0.5, verb="cost", most="most expensive", least="cheapest"),
            rows=14,
        ),
    ),
    domain(
        "restaurant",
        table(
            "chefs",
            "chef",
            name("name", PEOPLE),
            category("specialty", "seafood|pastry|grill", "specialty"),
            number("experience", 1, 35, "experience", "years of experience", unit="years", most="most experienced"),
            person=True,
        ),
        table(
            "dishes",
            "dish",
            name(
                "name",
                "Onion Soup|Grilled Trout|Beef Stew|Mushroom Risotto|Duck Confit|Lamb Curry|Pea Salad|Crab Cakes|"
                "Fig Ice Cream|Pumpkin Ravioli|Chicken Pie|Tomato Salad|Baked Pear|Fish Tacos|Lentil Soup|Pepper Steak",
            ),
            link("chef_id", "chefs"),
            category("course", "starter|main|dessert", such="served as a {}"),
            number("calories", 120, 1200, "number of calories", step=10, counted="calories"),
            number("price", 4, 42, step=0.5, verb="cost", most="most expensive", least="cheapest"),
            plural="dishes",
            by="by",
        ),
    ),
    domain(
        "food_delivery",
        table(
            "couriers",
            "courier",
            name("name", PEOPLE),
            category("vehicle", "bicycle|scooter|van", such="riding a {}"),
            number("rating", 2.5, 5, step=0.1, most="best rated", least="worst rated"),
            person=True,
        ),
        table(
            "deliveries",
            "delivery",
            name("code", _CODES),
            link("courier_id", "couriers"),
            category("district", "Centre|Harbour|Old Town|Riverside", such="to {}"),
            number("distance", 0.5, 14, step=0.5, unit="km", most="longest", least="shortest", sums=True),
            number("tip", 0, 12, "tip", step=0.5, sums=True),
            plural="deliveries",
            by="by",
        ),
    ),
    domain(
        "cookbook",
        table(
            "recipes",
            "recipe",
            name(
                "name",
                "Paella|Ramen|Moussaka|Pierogi|Gumbo|Falafel|Goulash|Ceviche|Lasagne|Pho|Shakshuka|Borscht|Tagine|"
                "Fondue",
            ),
            category("cuisine", "Asian|European|Latin|Arabic"),
            category("difficulty", "easy|medium|hard"),
            number("cooking_time", 10, 180, "cooking time", step=5, unit="minutes", most="slowest", least="quickest"),
            number("servings", 2, 12, "number of servings", counted="servings", sums=True),
            rows=14,
        ),
    ),
    domain(
        "hardware_rental",
        table(
            "tools",
            "tool",
            name(
                "name",
                "Jackhammer|Chain Saw|Tile Cutter|Sander|Generator|Cement Mixer|Leaf Blower|Drill Press|"
                "Pressure Washer|Lawn Mower|Nail Gun|Heat Gun|Scaffold|Winch",
            ),
            category("power_source", "battery|petrol|mains", "power source", such="running on {}"),
            number("daily_fee", 5, 120, "daily fee", step=1, most="most expensive", least="cheapest"),
            number("deposit", 20, 600, step=10, sums=True),
            day("last_service", 2021, 2024, "last service date", did="were serviced", missing=True),
            rows=14,
        ),
    ),
    domain(
        "book_fair",
        table(
            "exhibitors",
            "exhibitor",
            name("name", COMPANIES),
            category("hall", "Hall 1|Hall 2|Hall 3", such="in {}"),
            category("language", "English|Spanish|German"),
            number("booth_size", 6, 120, "booth size", step=2, most="largest", least="smallest", sums=True),
            category("contact_street", STREETS[:6], "contact street", missing=True),
            rows=14,
        ),
    ),
)
