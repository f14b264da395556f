"""Numbers as a reader sees them: scores, rates, bytes, durations, each in one spelling.

It knows no HTML and no run.
"""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import Any

NOTHING = "–"
_MINUS = "\u2212"
_THIN = "\u202f"


def as_number(value: object) -> float | None:
    """``value`` as a finite float, or None where it is no number one could draw."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def decimals_for(width: float) -> int:
    """How many decimals show two digits of an interval ``width`` wide: 3 for 0.08, 4 for 0.008, at most 7."""
    if not math.isfinite(width) or width <= 0:
        return 3
    return min(7, max(0 if width >= 20 else 3, 1 - math.floor(math.log10(width))))


def score(value: object, decimals: int = 3) -> str:
    """A metric's value with a fixed number of decimals; a real minus sign."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    figure = as_number(value)
    return NOTHING if figure is None else _spaced(f"{figure:.{decimals}f}")


def signed(value: object, decimals: int = 3) -> str:
    """A difference: always with its sign."""
    text = score(value, decimals)
    return text if text[0] in f"{_MINUS}{NOTHING}ni" else f"+{text}"


def number(value: object) -> str:
    """Any figure of a table: whole numbers grouped, others to four digits, tiny and huge ones as powers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _spaced(str(value))
    figure = as_number(value)
    if figure is None:
        return score(value) if isinstance(value, float) or value is None else str(value)
    if figure == 0 or abs(figure) < 1e-3 or abs(figure) >= 1e9:
        return rate(figure)
    decimals = max(0, 3 - math.floor(math.log10(abs(figure)))) if abs(figure) >= 1 else 4
    text = f"{figure:.{decimals}f}"
    return _spaced(text.rstrip("0").rstrip(".") if "." in text else text)


def rate(value: object) -> str:
    """A learning rate or another small figure: ``1e-3``, ``2.5e-5``, ``0.02``."""
    figure = as_number(value)
    if figure is None:
        return NOTHING
    if figure == 0:
        return "0"
    if 0.01 <= abs(figure) < 1000:
        return _spaced(f"{figure:.3g}")
    mantissa, exponent = f"{figure:.2e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return _spaced(f"{mantissa}e{int(exponent)}")


def percent(share: object) -> str:
    """A share, 0 to 1, in percent: ``12 %``, ``0.4 %``, ``100 %`` only when it is all."""
    figure = as_number(share)
    if figure is None:
        return NOTHING
    value = 100 * figure
    if value != 0 and abs(value) < 0.005:
        return f"< 0.01{_THIN}%"
    decimals = 0 if abs(value) >= 10 or value == 0 else 1 if abs(value) >= 1 else 2
    text = f"{value:.{decimals}f}"
    if value < 100 and float(text) >= 100:
        text = "> 99.9" if value > 99.9 else f"{value:.1f}"
    return f"{text}{_THIN}%"


def size(count: object) -> str:
    """Bytes in decimal units: 1 MB is 1,000,000 bytes."""
    figure = as_number(count)
    if figure is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(figure) < 999.5 or unit == "TB":
            decimals = 0 if unit == "B" or abs(figure) >= 99.5 else 1
            return _spaced(f"{figure:.{decimals}f}\u00a0{unit}")
        figure /= 1000
    raise AssertionError("the loop returns at its last unit")


def sizes(low: object, high: object) -> str:
    """Bytes from low to high, the unit once where it is the same: ``227 to 273 MB``."""
    first, last = size(low), size(high)
    amount, _, unit = first.partition("\u00a0")
    return f"{amount} to {last}" if last.partition("\u00a0")[2] == unit else f"{first} to {last}"


def parameters(count: object) -> str:
    """How many parameters: ``385``, ``1.2 k``, ``22.7 M``, ``7.1 B``."""
    figure = as_number(count)
    if figure is None:
        return NOTHING
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (math.inf, "B")):
        if abs(figure) < limit:
            scaled = figure / {"": 1, "k": 1e3, "M": 1e6, "B": 1e9}[unit]
            return f"{scaled:.0f}" if not unit else f"{scaled:.1f}\u00a0{unit}"
    raise AssertionError("the last limit is infinite")


def duration(seconds: object) -> str:
    """Seconds as a person says them: ``0.4 s``, ``48 s``, ``2 min 05 s``, ``3 h 12 min``."""
    figure = as_number(seconds)
    if figure is None:
        return NOTHING
    if figure < 0.995:
        return f"{1000 * figure:.0f}\u00a0ms" if figure < 0.1 else f"{figure:.2f}\u00a0s"
    if figure < 59.5:
        return f"{figure:.0f}\u00a0s" if figure >= 9.95 else f"{figure:.1f}\u00a0s"
    whole = round(figure)
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{_spaced(str(whole // 3600))}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def plain(value: Any) -> str:
    """A setting or a fact as it would stand in YAML's short form."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return rate(value) if 0 < abs(value) < 0.01 else repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def words(name: object) -> str:
    """A metric's name as words: ``macro_f1`` is ``macro F1``."""
    spelled = {"f1": "F1", "wer": "WER", "cer": "CER", "map": "mAP", "iou": "IoU", "miou": "mIoU", "dice": "Dice"}
    spelled |= {name: name.upper() for name in ("ap", "ap50", "ap75", "ar", "ar1", "ar10", "ar100")}
    return " ".join(spelled.get(word, word) for word in str(name).replace("_", " ").split(" "))


def trains(value: Any) -> str:
    """What a stage trains: ``head``, ``top 2``."""
    if isinstance(value, dict) and len(value) == 1:
        return " ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    return plain(value)


def moment(text: object) -> str:
    """An ISO time as ``14 March 2026, 09:26 UTC``; anything else as it is."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    zone = " UTC" if when.utcoffset() == timedelta(0) else f" {when:%Z}" if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def cell(value: Any) -> str:
    """A value of a task's own table: figures in one spelling, words as they are."""
    if isinstance(value, float):
        return score(value) if abs(value) < 100 and not 0 < abs(value) < 5e-4 else number(value)
    return number(value) if isinstance(value, int) or value is None else plain(value)


def _spaced(text: str) -> str:
    """Digits in groups of three from 10,000 on, and a real minus sign."""
    sign, digits = (_MINUS, text[1:]) if text.startswith("-") else ("", text)
    whole, dot, rest = digits.partition(".")
    if whole.isdigit() and len(whole) >= 5:
        whole = f"{int(whole):,}".replace(",", _THIN)
    if set(digits) <= {"0", "."}:
        sign = ""
    return f"{sign}{whole}{dot}{rest}"
