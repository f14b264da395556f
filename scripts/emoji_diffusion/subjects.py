"""Which emoji are learned, what they are called in captions, and which are held out. It knows names, no pixels.

Flags, people, skin tones, signs and letters are left out: many look alike at 64 px, and a small model has few views of
each. The names are those of the data source, where they are plain; ``CALLED`` has the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

CLASSES = {
    "animal-mammal": "animal", "animal-bird": "bird", "animal-amphibian": "animal", "animal-reptile": "animal",
    "animal-marine": "sea animal", "animal-bug": "bug", "plant-flower": "flower", "plant-other": "plant",
    "food-fruit": "fruit", "food-vegetable": "vegetable", "food-prepared": "meal", "food-asian": "meal",
    "food-sweet": "dessert", "drink": "drink", "dishware": "dish", "heart": "heart", "monkey-face": "animal face",
    "cat-face": "animal face", "face-costume": "face", "musical-instrument": "instrument",
    "place-geographic": "landscape", "transport-ground": "vehicle", "transport-water": "boat",
    "transport-air": "aircraft", "clothing": "piece of clothing", "sport": "sports thing", "geometric": "shape",
}  # fmt: skip
"""The subcategories that are learned, and the noun of the class that some captions use instead of the name."""

FACES = """grinning joy slightly_smiling_face wink innocent heart_eyes star-struck kissing_heart stuck_out_tongue
    neutral_face sleeping mask nauseated_face hot_face cold_face exploding_head face_with_cowboy_hat sunglasses
    nerd_face open_mouth cry sob scream rage smiling_imp skull"""
ALSO = {
    "face": FACES,
    "building": "hut house office hospital school factory church mosque european_castle shinto_shrine"
            " tokyo_tower tent circus_tent ferris_wheel",
    "sky": "full_moon crescent_moon sun_with_face ringed_planet star cloud partly_sunny rain_cloud"
            " lightning tornado rainbow umbrella zap snowflake snowman fire droplet ocean earth_africa",
    "party thing": "jack_o_lantern christmas_tree sparkles balloon tada ribbon gift trophy sports_medal firecracker",
    "toy": "dart yo-yo kite gun 8ball crystal_ball video_game joystick game_die jigsaw teddy_bear spades"
            " clubs art yarn",
    "tool": "hammer axe crossed_swords bomb bow_and_arrow shield wrench screwdriver gear magnet ladder scissors key"
            " lock anchor bell bulb candle hourglass alarm_clock",
    "device": "iphone phone battery computer tv camera radio microphone headphones",
    "paper thing": "closed_book green_book blue_book open_book scroll email moneybag coin pencil2 package briefcase",
}  # fmt: skip
"""Single emoji of other subcategories, by the noun of their class."""

LEFT_OUT = """guide_dog service_dog heart_decoration mending_heart joy_cat smirk_cat kissing_cat scream_cat
    pouting_cat smile_cat love_letter heartpulse heartbeat gift_heart black_bird hatched_chick racehorse boar
    dromedary_camel leafless_tree cherry_blossom rosette empty_nest leaves herb brown_mushroom white_flower
    stuffed_flatbread tamale fondue root_vegetable leafy_green national_park desert_island camping desert beers
    pouring_liquid hocho knife_fork_plate railway_car bullettrain_side train light_rail metro station mountain_railway
    oncoming_bus oncoming_police_car oncoming_taxi oncoming_automobile trolleybus minibus manual_wheelchair busstop
    motorway railway_track wheel rotating_light traffic_light vertical_traffic_light octagonal_sign construction
    motor_boat passenger_ship anchor airplane_departure airplane_arriving small_airplane seat suspension_railway
    aerial_tramway safety_vest one-piece_swimsuit hair_pick prayer_beads folding_hand_fan pouch shopping_bags
    womans_flat_shoe sari womans_clothes billed_cap helmet_with_white_cross softball martial_arts_uniform goal_net golf
    running_shirt_with_sash cricket_bat_and_ball lacrosse rugby_football black_circle white_circle black_large_square
    white_large_square black_medium_square white_medium_square black_medium_small_square white_medium_small_square
    black_small_square white_small_square small_orange_diamond small_blue_diamond diamond_shape_with_a_dot_inside
    radio_button white_square_button black_square_button small_red_triangle_down japanese_goblin moon_cake oden
    fish_cake rice_cracker sake tea moose ox water_buffalo bison otter badger skunk mammoth cockroach microbe worm
    oyster dodo wing
    sparkling_heart revolving_hearts two_hearts heavy_heart_exclamation_mark_ornament poodle raccoon tiger2
    leopard black_cat donkey ram llama rat chipmunk beaver pig2 mouse2 cow2 turkey hatching_chick goose phoenix dragon
    sauropod whale coral shrimp lobster squid cricket fly mosquito spider_web wilted_flower bouquet blossom hyacinth
    ear_of_rice shamrock fallen_leaf nest_with_eggs melon mango green_apple olive garlic ginger_root pea_pod peanuts
    beans chestnut flatbread bagel cut_of_meat bacon falafel burrito sandwich shallow_pan_of_food stew bowl_with_spoon
    butter salt canned_food bento curry sweet_potato fried_shrimp dumpling fortune_cookie takeout_box spaghetti rice
    shaved_ice ice_cream pie custard honey_pot candy tumbler_glass cup_with_straw beverage_box mate_drink ice_cube
    clinking_glasses tropical_drink amphora jar mount_fuji tram monorail pickup_truck articulated_lorry
    motorized_wheelchair auto_rickshaw scooter roller_skate fuelpump speedboat ferry mountain_cableway satellite
    lab_coat briefs kimono purse school_satchel thong_sandal hiking_boot ballet_shoes sandal womans_hat goggles coat
    military_helmet lipstick volleyball flying_disc bowling field_hockey_stick_and_ball ice_hockey_stick_and_puck
    table_tennis_paddle_and_ball badminton_racquet_and_shuttlecock ski sled curling_stone diving_mask
    fishing_pole_and_fish banjo long_drum maracas flute harp accordion hear_no_evil speak_no_evil mans_shoe
    space_invader racing_car hot_pepper oil_drum crying_cat_face"""
"""Near twins of others, and pictures that hardly anybody could name at 64 px."""

CORE = """slightly_smiling_face joy heart_eyes sunglasses skull ghost hankey heart blue_heart green_heart dog cat bear
    panda_face pig tiger frog monkey_face rabbit lion_face cow turtle sheep penguin owl baby_chick duck bird
    fish tropical_fish crab dolphin blowfish shark bee butterfly snail spider ant rose tulip evergreen_tree
    deciduous_tree palm_tree four_leaf_clover mushroom maple_leaf apple pear banana lemon tangerine watermelon
    cherries grapes peach tomato eggplant broccoli corn avocado pizza fried_egg fries bread cheese_wedge
    rice_ball cookie icecream cupcake lollipop coffee beer wine_glass car bus taxi truck ship canoe ring_buoy
    airplane rocket flying_saucer trumpet saxophone shirt jeans dress crown socks boot house church tent
    game_die 8ball kite crystal_ball soccer basketball baseball sun_with_face full_moon star cloud rainbow
    umbrella snowman fire droplet zap earth_africa hammer key lock bell bulb candle bomb balloon gift
    christmas_tree jack_o_lantern trophy"""
"""What the diffusion model learns to draw in most of its steps: plain things, of every class, seen often enough."""

CALLED = {
    "joy": "laughing face with tears", "slightly_smiling_face": "smiling face", "innocent": "face with halo",
    "heart_eyes": "face with heart eyes", "star-struck": "face with star eyes", "kissing_heart": "kissing face",
    "stuck_out_tongue": "face with tongue", "mask": "face with mask", "hot_face": "hot face",
    "cold_face": "freezing face", "exploding_head": "exploding head", "face_with_cowboy_hat": "face with cowboy hat",
    "sunglasses": "face with sunglasses", "open_mouth": "surprised face", "sob": "loudly crying face",
    "scream": "screaming face", "rage": "angry face", "smiling_imp": "purple devil face", "hankey": "pile of poo",
    "japanese_ogre": "ogre face", "alien": "alien face", "robot_face": "robot face", "smiley_cat": "smiling cat face",
    "heart_eyes_cat": "cat face with heart eyes", "heart": "red heart", "cupid": "heart with arrow",
    "see_no_evil": "monkey covering eyes", "feet": "paw prints", "bee": "bee", "ladybug": "ladybug",
    "dolphin": "dolphin", "corn": "corn", "eggplant": "eggplant", "fried_egg": "fried egg",
    "ramen": "bowl of noodles", "coffee": "cup of coffee", "champagne": "champagne bottle", "cocktail": "cocktail",
    "beer": "beer mug", "icecream": "soft ice cream", "cake": "slice of cake", "phone": "black telephone",
    "iphone": "mobile phone", "dart": "dart board", "8ball": "billiard ball", "gun": "water pistol",
    "spades": "black spade", "clubs": "black club", "jigsaw": "puzzle piece", "bulb": "light bulb",
    "soccer": "soccer ball", "basketball": "basketball", "tennis": "tennis ball", "bullettrain_front": "bullet train",
    "train2": "train", "car": "red car", "blue_car": "camper van", "truck": "delivery truck", "boat": "sailboat",
    "racing_motorcycle": "motorcycle", "bike": "bicycle", "sun_with_face": "sun with face", "star": "yellow star",
    "zap": "lightning bolt", "lightning": "cloud with lightning", "rain_cloud": "cloud with rain",
    "partly_sunny": "sun behind cloud", "ocean": "water wave", "earth_africa": "planet earth",
    "full_moon": "full moon", "house": "house", "office": "office building", "european_castle": "castle",
    "tada": "party popper", "gift": "present", "scissors": "scissors", "tophat": "top hat",
    "dark_sunglasses": "sunglasses", "shirt": "blue shirt", "mortar_board": "graduation cap", "boot": "boots",
    "high_heel": "red high heel", "gem": "gem stone", "art": "artist palette", "yarn": "ball of yarn",
    "email": "envelope", "pencil2": "pencil", "closed_book": "red book", "small_red_triangle": "red triangle",
    "computer": "laptop", "football": "american football", "snow_capped_mountain": "snowy mountain",
    "beach_with_umbrella": "beach", "fire_engine": "fire truck", "flying_saucer": "ufo",
}  # fmt: skip
"""What captions say instead of the data source's name."""

HELD_OUT = {
    "parrot": "bird", "flamingo": "bird", "fox_face": "animal face", "unicorn_face": "animal face",
    "elephant": "animal", "octopus": "sea animal", "ladybug": "bug", "sunflower": "flower", "cactus": "plant",
    "pineapple": "fruit", "strawberry": "fruit", "carrot": "vegetable", "hamburger": "meal", "doughnut": "dessert",
    "cocktail": "drink", "teapot": "drink", "tractor": "vehicle", "boat": "boat", "helicopter": "aircraft",
    "guitar": "instrument", "tophat": "piece of clothing", "robot_face": "face", "european_castle": "building",
    "teddy_bear": "toy",
}  # fmt: skip
"""Emoji that no part of the model sees, by the class that a prompt calls them: subjects for DreamBooth."""


@dataclass(frozen=True)
class Subject:
    """One emoji: its name in captions, the noun of its class, and the file with its picture."""

    key: str
    name: str
    noun: str
    image: str


def every_subject(emoji: Path) -> list[Subject]:
    """All that are learned or held out, in the order of Unicode, read from ``emoji.json``."""
    single = {key: noun for noun, keys in ALSO.items() for key in keys.split()}
    twins = set(LEFT_OUT.split())
    found: dict[str, Subject] = {}
    for entry in sorted(json.loads(emoji.read_text(encoding="utf-8")), key=lambda entry: entry["sort_order"]):
        keys = entry["short_names"]
        key = next((key for key in keys if key in single or key in HELD_OUT or key in CALLED), keys[0])
        noun = single.get(key) or CLASSES.get(entry["subcategory"])
        if noun is None or (twins.intersection(keys) and key not in single) or not entry["has_img_google"]:
            continue
        name = CALLED.get(key) or entry["name"].lower().replace("large ", "").replace("-", " ")
        if noun == "animal" and name.endswith("face"):
            noun = "animal face"
        found.setdefault(name, Subject(key, name, HELD_OUT.get(key, noun), entry["image"]))
    return list(found.values())


def learned(subjects: list[Subject]) -> list[Subject]:
    """Those that the model is trained on."""
    return [subject for subject in subjects if subject.key not in HELD_OUT]


def core(subjects: list[Subject]) -> list[Subject]:
    """Those of ``subjects`` that the diffusion model is to draw well."""
    keys = set(CORE.split())
    return [subject for subject in subjects if subject.key in keys]


def held_out(subjects: list[Subject]) -> list[Subject]:
    """Those that it never sees."""
    return [subject for subject in subjects if subject.key in HELD_OUT]
