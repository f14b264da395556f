"""Domains to learn from: offices, factories and services. It knows the words, not the questions."""

from __future__ import annotations

from text_to_sql.pools import CITIES, COMPANIES, FEW_CITIES, PEOPLE, PHONES, STREETS
from text_to_sql.schema import category, day, domain, link, name, number, table, text, year

_CASES = tuple(f"{letter}{number}" for letter in ("K", "M", "R") for number in range(1012, 9900, 1327))

WORK = (
    domain(
        "company",
        table(
            "departments",
            "department",
            name("name", "Sales|Finance|Legal|Marketing|Research|Support|Logistics|Design|Security|Purchasing"),
            category("building", "A|B|C", such="in building {}"),
            number("budget", 50, 900, step=10, most="richest", sums=True),
            rows=10,
        ),
        table(
            "employees",
            "employee",
            name("name", PEOPLE),
            link("department_id", "departments"),
            category("job_title", "analyst|manager|clerk|engineer", "job title", "position"),
            number(
                "salary",
                1800,
                9800,
                "salary",
                "pay",
                step=100,
                verb="earn",
                most="best paid",
                least="worst paid",
                sums=True,
            ),
            day("hired_on", 2010, 2023, "hiring date", did="were hired"),
            person=True,
            by="in",
        ),
    ),
    domain(
        "law_firm",
        table(
            "lawyers",
            "lawyer",
            name("name", PEOPLE),
            category("field", "tax|family|criminal", "field", "field of law"),
            number("hourly_rate", 90, 600, "hourly rate", step=10, most="most expensive", least="cheapest"),
            person=True,
        ),
        table(
            "court_cases",
            "case",
            name("file_number", _CASES, "file number"),
            link("lawyer_id", "lawyers"),
            category("outcome", "won|lost|settled", missing=True),
            day("opened", 2016, 2023, "opening date", did="were opened"),
            number("hearings", 1, 20, "number of hearings", counted="hearings", sums=True),
            by="handled by",
        ),
    ),
    domain(
        "bank",
        table(
            "branches",
            "branch",
            name(
                "name",
                "Central|Harbour|Airport|Old Town|University|Riverside|North Gate|Market Square|West Park|Station",
            ),
            category("city", FEW_CITIES, such="in {}"),
            number("counters", 1, 14, "number of counters", counted="counters", sums=True),
            plural="branches",
            rows=10,
        ),
        table(
            "accounts",
            "account",
            name("holder", PEOPLE),
            link("branch_id", "branches"),
            category("account_type", "savings|checking|business", "account type", "type"),
            number("balance", 50, 45000, step=50, most="largest", least="smallest", sums=True),
            year("opened_in", 1995, 2022, "opening year", did="were opened"),
            by="at",
        ),
    ),
    domain(
        "insurance",
        table(
            "agents",
            "agent",
            name("name", PEOPLE),
            category("region", "north|south|east|west", such="from the {}"),
            number("commission", 2, 15, step=0.5),
            person=True,
        ),
        table(
            "policies",
            "policy",
            name("policy_number", _CASES, "policy number"),
            link("agent_id", "agents"),
            category("risk", "home|car|travel|health"),
            number("premium", 60, 2400, step=20, most="most expensive", least="cheapest", sums=True),
            day("valid_until", 2023, 2027, "end date"),
            plural="policies",
            by="sold by",
        ),
    ),
    domain(
        "construction",
        table(
            "sites",
            "site",
            name(
                "name",
                "Lake Towers|City Bridge|Metro Line 4|Green Homes|Ring Road|Harbour Mall|Solar Campus|North Tunnel|"
                "Arena|Old Mill",
            ),
            category("phase", "planning|building|finished", such="in the {} phase"),
            number("cost", 2, 480, "cost", most="most expensive", least="cheapest", sums=True),
            rows=10,
        ),
        table(
            "workers",
            "worker",
            name("name", PEOPLE),
            link("site_id", "sites"),
            category("trade", "mason|welder|electrician|carpenter"),
            number(
                "daily_wage", 70, 320, "daily wage", "wage", step=5, most="best paid", least="worst paid", sums=True
            ),
            text("phone", PHONES, "phone number", missing=True),
            person=True,
            by="on",
        ),
    ),
    domain(
        "help_desk",
        table(
            "technicians",
            "technician",
            name("name", PEOPLE),
            category("shift", "morning|evening|night", such="on the {} shift"),
            number("certificates", 0, 9, "number of certificates", counted="certificates", sums=True),
            person=True,
        ),
        table(
            "tickets",
            "ticket",
            name(
                "subject",
                "Printer offline|Password reset|Slow laptop|Broken screen|No sound|VPN error|Mail missing|Full disk|"
                "Lost badge|Wifi drops|App crash|New account|Phone locked|Paper jam|Backup failed|Update stuck",
            ),
            link("technician_id", "technicians"),
            category("priority", "low|normal|urgent", such="with {} priority"),
            number("hours_spent", 0.5, 20, "hours spent", "time spent", step=0.5, sums=True),
            day("closed_on", 2023, 2024, "closing date", did="were closed", missing=True),
            by="assigned to",
        ),
    ),
    domain(
        "job_board",
        table(
            "employers",
            "employer",
            name("name", COMPANIES),
            category("industry", "energy|retail|media"),
            number(
                "employees",
                20,
                5000,
                "number of employees",
                step=10,
                counted="employees",
                most="largest",
                least="smallest",
                sums=True,
            ),
        ),
        table(
            "vacancies",
            "vacancy",
            name(
                "position",
                "Accountant|Driver|Data Analyst|Cook|Nurse|Web Developer|Plumber|Sales Assistant|Architect|Cleaner|"
                "Copywriter|Security Guard|Lab Assistant|Tax Adviser|Receptionist|Electrician",
            ),
            link("employer_id", "employers"),
            category("contract", "full-time|part-time|freelance", "contract", "contract type"),
            number(
                "monthly_pay",
                1200,
                7500,
                "monthly pay",
                "pay",
                step=100,
                verb="pay",
                most="best paid",
                least="worst paid",
            ),
            number("applicants", 0, 140, "number of applicants", counted="applicants", sums=True),
            plural="vacancies",
            by="at",
        ),
    ),
    domain(
        "software_team",
        table(
            "bugs",
            "bug",
            name(
                "summary",
                "Login loop|Crash on save|Wrong total|Missing icon|Slow search|Broken link|Typo in menu|Lost session|"
                "Bad encoding|Memory leak|Empty report|Dark mode flicker|Double click|Time zone shift",
            ),
            category("component", "billing|search|editor", such="in the {} component"),
            category("severity", "minor|major|critical"),
            number("votes", 0, 90, "number of votes", counted="votes", sums=True),
            day("reported_on", 2022, 2024, "report date", did="were reported"),
            rows=14,
        ),
    ),
    domain(
        "factory",
        table(
            "machines",
            "machine",
            name(
                "name",
                "Press One|Lathe Max|Cutter 7|Roller X|Robot Arm B|Furnace 2|Mixer Z|Packer 3|Conveyor K|Welder 5|"
                "Boiler 9|Grinder Q|Spinner 4|Painter J",
            ),
            category("line", "red line|blue line|green line", such="on the {}"),
            year("installed", 1998, 2022, "installation year", did="were installed"),
            number("power", 5, 400, step=5, unit="kW", most="most powerful", least="least powerful", sums=True),
            text("operator", PEOPLE, missing=True),
            rows=14,
        ),
    ),
    domain(
        "real_estate",
        table(
            "realtors",
            "realtor",
            name("name", PEOPLE),
            category("office_city", CITIES[2:6], "office city", such="based in {}"),
            year("licence_year", 1995, 2020, did="were licensed", most="", least=""),
            person=True,
        ),
        table(
            "houses",
            "house",
            name("address", tuple(f"{n} {street}" for n in (4, 17) for street in STREETS)),
            link("realtor_id", "realtors"),
            number("bedrooms", 1, 7, "number of bedrooms", counted="bedrooms", sums=True),
            number(
                "asking_price",
                90,
                980,
                "asking price",
                "price",
                step=5,
                most="most expensive",
                least="cheapest",
                sums=True,
            ),
            category("heating", "gas|oil|heat pump", such="heated by {}"),
            by="offered by",
        ),
    ),
)
