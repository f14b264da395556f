"""British spelling as American, word by word, so that both count as the same word. It knows words, no grammar.

The rules work on whole words in lower case. A word that a rule changes without need is changed on both sides of a
comparison; what matters is that no two different words become one.
"""

from __future__ import annotations

import re
from functools import lru_cache

_OUR = re.compile(
    r"(.*(?:arb|\bard|arm|behavi|cand|clam|col|demean|enam|endeav|fav|ferv|flav|glam|harb|hon|hum|lab|neighb|\bod|\bmalod|"
    r"parl|ranc|\brig|rum|savi|sav|splend|succ|tum|val|vap|vig))our(.*)"
)
_ISE = re.compile(r"(\w\w+[^\Waou])is(e|ed|er|ers|es|ing|ingly|able|ably|ation|ations|ational|ement|ements)")
_NEVER_ISE = re.compile(
    r".*(?:adv|advert|appr|cerc|chast|circumc|compr|comprom|conc|dem|desp|dev|enfranch|enterpr|exc|exerc|expert|"
    r"franch|improv|inc|merchand|otherw|parad|prec|prem|prom|repr|rev|superv|surm|surpr|telev|treat|sunr|upr|w|chem|"
    r"\bden|\bval|\ban|\bcer|prov|div|pr)"
)
_YSE = re.compile(r"(\w*(?:anal|breathal|catal|dial|electrol|hydrol|paral))ys(e|ed|er|ers|es|ing)")
_RE = re.compile(
    r"(.*(?:calib|cent|fib|goit|lit|louv|lust|manoeuv|maneuv|meag|\bmet|amet|imet|omet|mit|nit|och|reconnoit|sab|"
    r"saltpet|sepulch|somb|spect|theat|titre|philt))re(s|d|ly|fold|folds|piece|pieces|glass|board|goer|goers)?"
)
_RING = re.compile(r"(cent|reconnoit|manoeuv|maneuv)r(ing|ings)")
_OGUE = re.compile(r"(\w*(?:anal|catal|demag|dial|homol|monol|ped|prol|epil))ogu(e|es|ed|ing)")
_LL = re.compile(
    r"((?:\w*(?:bev|bow|cance|cavi|chan|chann|chis|counci|counse|crue|crysta|cudge|dev|dia|dishev|disembow|dow|driv|due|"
    r"enam|equa|fue|funn|gambo|gra?v|grov|gru|imperi|initia|jew|ken|lab|lev|lib|mod|marsh|marv|med|met|pan|parc|ped|"
    r"penc|per|petro|pist|pomm|pumm|quarr|rav|rev|riv|shov|shriv|sign|snork|spir|squirr|stenc|swiv|tass|tink|tot|tow|"
    r"tramm|trav|tria|tunn|wease|yod)[eai]?|caro)l)l(ed|er|ers|est|ing|ings|ingly|or|ors|ery|ist|ists|ous|ously)"
)
_VOWELS = (
    ("aesthe", "esthe"),
    ("anaem", "anem"),
    ("anaesth", "anesth"),
    ("archae", "arche"),
    ("caesar", "cesar"),
    ("encyclopaed", "encycloped"),
    ("faec", "fec"),
    ("faeces", "feces"),
    ("foet", "fet"),
    ("glycaem", "glycem"),
    ("gynaec", "gynec"),
    ("haem", "hem"),
    ("homoeo", "homeo"),
    ("leukaem", "leukem"),
    ("manoeuvrab", "maneuverab"),
    ("manoeuv", "maneuv"),
    ("mediaeval", "medieval"),
    ("oedema", "edema"),
    ("oesoph", "esoph"),
    ("oestr", "estr"),
    ("orthopaed", "orthoped"),
    ("paediatr", "pediatr"),
    ("paedophil", "pedophil"),
    ("palaeo", "paleo"),
    ("praesid", "presid"),
    ("primaev", "primev"),
    ("rrhoea", "rrhea"),
    ("septicaem", "septicem"),
    ("toxaem", "toxem"),
    ("tranquilli", "tranquili"),
    ("uraem", "urem"),
)
_BEGINNINGS = (
    ("aeroplane", "airplane"),
    ("aeon", "eon"),
    ("artefact", "artifact"),
    ("chequer", "checker"),
    ("cheque", "check"),
    ("cosier", "cozier"),
    ("cosiest", "coziest"),
    ("cosily", "cozily"),
    ("cosiness", "coziness"),
    ("defence", "defense"),
    ("draught", "draft"),
    ("enrolment", "enrollment"),
    ("fulfilment", "fulfillment"),
    ("gaol", "jail"),
    ("grey", "gray"),
    ("instalment", "installment"),
    ("jewellery", "jewelry"),
    ("kerb", "curb"),
    ("licence", "license"),
    ("mould", "mold"),
    ("moult", "molt"),
    ("moustache", "mustache"),
    ("offence", "offense"),
    ("plough", "plow"),
    ("practis", "practic"),
    ("pretence", "pretense"),
    ("sceptic", "skeptic"),
    ("skilful", "skillful"),
    ("smoulder", "smolder"),
    ("sulph", "sulf"),
    ("unskilful", "unskillful"),
    ("wilful", "willful"),
    ("woollen", "woolen"),
)
_WORDS = {
    "acknowledgement": "acknowledgment",
    "acknowledgements": "acknowledgments",
    "ageing": "aging",
    "aluminium": "aluminum",
    "axe": "ax",
    "appal": "appall",
    "appals": "appalls",
    "biassed": "biased",
    "chilli": "chili",
    "cosy": "cozy",
    "phoney": "phony",
    "disc": "disk",
    "discs": "disks",
    "distil": "distill",
    "distils": "distills",
    "doughnut": "donut",
    "doughnuts": "donuts",
    "enrol": "enroll",
    "enrols": "enrolls",
    "enthral": "enthrall",
    "focussed": "focused",
    "focusses": "focuses",
    "focussing": "focusing",
    "fulfil": "fulfill",
    "fulfils": "fulfills",
    "gramme": "gram",
    "grammes": "grams",
    "instil": "instill",
    "instils": "instills",
    "judgement": "judgment",
    "judgements": "judgments",
    "kidnapped": "kidnaped",
    "kidnapping": "kidnaping",
    "kidnapper": "kidnaper",
    "kilogramme": "kilogram",
    "kilogrammes": "kilograms",
    "programme": "program",
    "programmes": "programs",
    "omelette": "omelet",
    "omelettes": "omelets",
    "pyjama": "pajama",
    "pyjamas": "pajamas",
    "snowplough": "snowplow",
    "storey": "story",
    "storeys": "stories",
    "tonne": "ton",
    "tonnes": "tons",
    "tyre": "tire",
    "tyres": "tires",
    "worshipped": "worshiped",
    "worshipper": "worshiper",
    "worshippers": "worshipers",
    "worshipping": "worshiping",
    "yoghurt": "yogurt",
    "yoghurts": "yogurts",
}


@lru_cache(maxsize=1 << 15)
def american(word: str) -> str:
    """The word in American spelling: ``colour`` is ``color``, ``realised`` is ``realized``; most stay as they are."""
    if word in _WORDS:
        return _WORDS[word]
    for british, own in _BEGINNINGS:
        if word.startswith(british):
            return own + word[len(british) :]
    for british, own in _VOWELS:
        if british in word:
            word = word.replace(british, own)
    return _by_rule(word)


def _by_rule(word: str) -> str:
    if found := _OUR.fullmatch(word):
        word = f"{found[1]}or{found[2]}"
    if (found := _ISE.fullmatch(word)) and not _NEVER_ISE.fullmatch(found[1]):
        word = f"{found[1]}iz{found[2]}"
    elif found := _YSE.fullmatch(word):
        word = f"{found[1]}yz{found[2]}"
    elif found := _RE.fullmatch(word):
        word = f"{found[1]}er{'ed' if found[2] == 'd' else found[2] or ''}"
    elif found := _RING.fullmatch(word):
        word = f"{found[1]}er{found[2]}"
    elif found := _OGUE.fullmatch(word):
        word = f"{found[1]}og{'' if found[2] == 'e' else 's' if found[2] == 'es' else found[2]}"
    elif found := _LL.fullmatch(word):
        word = f"{found[1]}{found[2]}"
    return word
