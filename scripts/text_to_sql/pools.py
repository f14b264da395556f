"""Names of people and places that several domains draw from. It knows no domain."""

from __future__ import annotations

from text_to_sql.schema import split

_FIRST = split(
    "Maria|Ivan|Aisha|Kenji|Lena|Omar|Sofia|Peter|Nadia|Lucas|Elena|David|Priya|Hugo|Clara|Samuel|Ingrid|Tomas|Zoe|"
    "Felix|Amara|Victor|Hana|Daniel|Rosa|Emil|Greta|Noah|Leila|Oscar"
)
_LAST = split(
    "Lopez|Novak|Khan|Tanaka|Fischer|Hassan|Rossi|Larsen|Petrova|Silva|Moreau|Miller|Sharma|Weber|Santos|Cohen|Berg|"
    "Kovacs|Walsh|Dubois|Okafor|Ortega|Sato|Brown|Marin|Jansen|Lindholm|Adler|Haddad|Quinn"
)
PEOPLE = tuple(f"{first} {last}" for i, first in enumerate(_FIRST) for last in (_LAST[i], _LAST[(i * 7 + 3) % 30]))
CITIES = split("Lisbon|Oslo|Vienna|Toronto|Lima|Osaka|Dublin|Prague|Nairobi|Porto|Geneva|Austin")
FEW_CITIES = CITIES[:5]
COUNTRIES = split("Spain|Japan|Kenya|Chile|Norway|Canada")
FEW_COUNTRIES = COUNTRIES[:4]
PHONES = tuple(f"555-{number:04}" for number in range(107, 9900, 311))
STREETS = split(
    "Elm Street|Mill Lane|Harbour Road|King Street|Station Road|Oak Avenue|Church Lane|Park Row|Bridge Street|Hill Road"
)
COMPANIES = split(
    "Northwind|Bluepeak|Ironleaf|Suncrest|Silverline|Redwood|Evergreen|Brightway|Stonegate|Clearwater|Goldfinch|"
    "Oakridge|Starfield|Riverton"
)
