from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.report import panels as report_panels
from tunesmith.report import write_report
from tunesmith.speech.clips import clip_uri, noise_level
from tunesmith.speech.panels import row_rates, speech_panels
from tunesmith.speech.scores import errors_of, errors_of_rows

SCRIPT = "<script>alert('x')</script>"


def load_fixture() -> ModuleType:
    spec = spec_from_file_location("make_run", Path(__file__).parents[1] / "fixtures" / "make_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sine(seconds: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A tone that comes and goes, with noise under it."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    tone = 0.4 * np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * 1.5 * time) > 0)
    return (tone + noise * np.random.default_rng(seed).standard_normal(time.size)).astype(np.float32)


def make(count: int = 30) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    texts = ["the quick brown fox", "won't you come home", "see the sea", "a word & <b>another</b>"]
    rows = [
        {
            "id": f"clip/{n}",
            "text": texts[n % 4],
            "language": "en",
            "speaker": ("ann", "bob", None)[n % 3],
            "seconds": 0.5 + n,
        }
        for n in range(count)
    ]
    base = [{"text": f"quick {SCRIPT} fox" if n % 2 else "see see", "ended": n % 5 > 0} for n in range(count)]
    tuned = [
        {"text": rows[n]["text"] if n % 3 else rows[n]["text"].replace("sea", "see"), "ended": True}
        for n in range(count)
    ]
    return rows, base, tuned


def shown(rows: list[dict[str, Any]], base: Any, tuned: Any, wave_of: Any = None, **more: Any) -> list[dict[str, Any]]:
    before = errors_of_rows(rows, base) if base is not None else None
    wave_of = wave_of or (lambda row: sine(1.0))
    return speech_panels(rows, base, tuned, wave_of, before, errors_of_rows(rows, tuned), **more)


def by_title(found: list[dict[str, Any]]) -> Mapping[str, dict[str, Any]]:
    return {panel["title"]: panel for panel in found}


class Page(HTMLParser):
    """The elements of a page, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_panels_stand_in_the_page_and_run_nothing(tmp_path: Path) -> None:
    rows, base, tuned = make()
    rows[0]["id"] = SCRIPT
    found = json.loads(json.dumps(shown(rows, base, tuned, lambda row: sine(1.0, 0.01 * (len(row["id"]) % 3)))))
    folder = load_fixture().make_run(tmp_path / "run")
    (folder / "panels.json").write_text(json.dumps(found))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert [panel for panel in report_panels.prepare(found) if panel.macro == "unknown"] == []
    names = [name for name, _ in page.elements]
    assert "script" not in names
    players = [attributes for name, attributes in page.elements if name == "audio"]
    count = sum(len(panel["items"]) for panel in found if panel["kind"] == "audio")
    assert len(players) == count > 8
    assert all(one["preload"] == "none" and "controls" in one and "autoplay" not in one for one in players)
    assert all(str(one["src"]).startswith("data:audio/") for one in players)
    assert all(str(one["aria-label"]).startswith("recording ") for one in players)
    assert {"ins", "del"} <= set(names)
    words = " ".join(page.text.split())
    assert SCRIPT in words
    assert "a word & <b>another</b>" in words
    assert "instead of: sea written: see" in words


def test_worst_rows_come_first_and_random_ones_follow() -> None:
    rows, base, tuned = make()
    tuned[7] = {"text": "nothing of that was said at all", "ended": False}
    found = by_title(shown(rows, base, tuned, shown=4))
    worst, drawn = found["Worst recordings, tuned"], found["Recordings at random"]
    assert worst["items"][0]["id"] == "clip/7"
    assert "cut off" in worst["items"][0]["tuned"]["note"]
    assert {item["id"] for item in worst["items"][1:]} <= {f"clip/{n}" for n in (6, 18)}
    assert len(drawn["items"]) == 4
    item = next(item for item in worst["items"] if item["id"] == "clip/6")
    assert item["tuned"]["steps"] == [["equal", "see", "see"], ["equal", "the", "the"], ["substitute", "sea", "see"]]
    assert item["tuned"]["note"] == "WER 33 %, as written 33 %"
    assert shown(rows, base, tuned, seed=1)[1]["items"] != shown(rows, base, tuned, seed=2)[1]["items"]


def test_a_perfect_model_has_no_worst_rows() -> None:
    rows, base, _ = make()
    found = by_title(shown(rows, base, [{"text": row["text"], "ended": True} for row in rows]))
    assert "Worst recordings, tuned" not in found
    assert "Recordings at random" in found


def test_tables_tell_kinds_groups_and_confusions() -> None:
    rows, base, tuned = make()
    found = by_title(shown(rows, base, tuned))
    kinds = {row[0]: row[1:] for row in found["Kinds of error"]["rows"]}
    assert found["Kinds of error"]["rows"][0][0] == "WER, normalised"
    assert kinds["WER, normalised"][0] > kinds["WER, normalised"][1] > 0
    assert kinds["rows that ended by themselves"] == [0.8, 1.0]
    speakers = found["By speaker"]
    assert speakers["columns"] == ["speaker", "rows", "words", "WER base", "WER tuned"]
    assert {row[0] for row in speakers["rows"]} == {"ann", "bob", "not known"}
    assert [row[0] for row in found["By length"]["rows"]] == ["under 1 s", "1 to 3 s", "3 to 10 s", "10 to 30 s"]
    assert "By language" not in found
    assert found["Most frequent confusions"]["rows"][0][:2] == ["sea", "see"]
    counts = found["Rows by error rate"]["series"]
    assert [sum(one["counts"]) for one in counts] == [30, 30]


def test_noise_is_heard_or_told() -> None:
    rows, base, tuned = make()
    levels = {row["id"]: (0.0, 0.1)[n % 2] for n, row in enumerate(rows)}
    heard = by_title(shown(rows, base, tuned, lambda row: sine(1.5, levels[row["id"]])))["By noise"]
    assert [row[:2] for row in heard["rows"]] == [["0 to 10 dB", 15], ["30 dB and more", 15]]
    assert "estimated" in heard["note"]
    told = [{**row, "snr": 5.0 + 20 * (n % 2)} for n, row in enumerate(rows)]
    by_row = by_title(shown(told, base, tuned))["By noise"]
    assert [row[0] for row in by_row["rows"]] == ["0 to 10 dB", "20 to 30 dB"]
    assert "as the data says" in by_row["note"]


def test_without_a_base_there_is_one_column_less() -> None:
    rows, _, tuned = make()
    found = shown(rows, None, tuned)
    titles = by_title(found)
    assert titles["Kinds of error"]["columns"] == ["rate", "tuned"]
    assert titles["By speaker"]["columns"][-1] == "WER tuned"
    assert "base" not in titles["Recordings at random"]["items"][0]
    assert [panel for panel in report_panels.prepare(found) if panel.macro == "unknown"] == []
    assert speech_panels([], None, [], lambda row: sine(1), None, []) == []


def test_the_sound_of_a_report_has_a_budget() -> None:
    rows, base, tuned = make()
    one = len(clip_uri(sine(1.0)))
    found = shown(rows, base, tuned, budget=3 * one + 10)
    sounds = [item["audio"] for panel in found[:2] for item in panel["items"]]
    assert sum(sound is not None for sound in sounds) == 3
    assert "without sound, since a report holds at most" in found[1]["note"]
    (ready,) = report_panels.prepare([found[1]])
    assert ready.macro == "table"


def test_sound_that_is_long_is_cut_and_that_cannot_be_read_is_named() -> None:
    rows, base, tuned = make(4)
    long = shown(rows, base, tuned, lambda row: sine(61.0))
    assert "only the first 60 s are played" in long[0]["note"]

    def broken(row: Any) -> np.ndarray:
        raise UserError("clip.wav is no sound file", "clip.wav", "look at it")

    found = shown(rows, base, tuned, broken)
    assert "could not be read: clip.wav is no sound file" in found[0]["note"]
    assert all(item["audio"] is None for item in found[0]["items"])
    assert "By noise" not in by_title(found)


def test_scripts_without_spaces_are_rated_by_character() -> None:
    rows = [{"id": str(n), "text": "今天天气很好", "language": "zh"} for n in range(4)]
    said = [{"text": "今天天汽很好", "ended": True}] * 4
    found = by_title(shown(rows, said, said))
    assert found["Kinds of error"]["rows"][0] == ["CER, normalised", pytest.approx(1 / 6), pytest.approx(1 / 6)]
    assert found["Recordings at random"]["items"][0]["tuned"]["between"] == ""
    assert found["Most frequent confusions"]["rows"][0][:2] == ["气", "汽"]
    (ready, *_) = report_panels.prepare([found["Recordings at random"]])
    assert "今天天<del" in str(ready.view["rows"][0][3][0])


def test_rates_of_rows_without_words() -> None:
    errors = [errors_of("", ""), errors_of("", "one two"), errors_of("a b", "a"), errors_of("a", "a b c")]
    assert row_rates(errors, "wer_normalized").tolist() == [0, 1, 0.5, 2]


@pytest.mark.parametrize("seconds", [0.0, 0.2, 12.0])
def test_a_clip_is_small_and_plays(seconds: float) -> None:
    import soundfile

    wave = sine(seconds, 0.01)
    uri = clip_uri(wave)
    kind, content = uri.removeprefix("data:audio/").split(";base64,")
    assert kind in ("mpeg", "ogg")
    if seconds:
        back, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert rate == 16_000
        assert back.size == pytest.approx(wave.size, abs=2400)
        assert len(uri) < 8000 * seconds + 4000
    (ready,) = report_panels.prepare([{"kind": "audio", "items": [{"audio": uri, "expected": ""}]}])
    assert ready.macro == "table"


def test_without_soundfile_a_clip_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    wave = sine(0.5)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    uri = clip_uri(np.append(wave, [np.nan, 3.0]).astype(np.float32))
    assert uri.startswith("data:audio/wav;base64,")
    back, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])), dtype="float32")
    assert rate == 16_000
    assert np.abs(back[:-2] - wave).max() < 1e-4
    (ready,) = report_panels.prepare([{"kind": "audio", "items": [{"audio": uri, "expected": ""}]}])
    assert ready.macro == "table"


def test_noise_levels_rise_with_the_speech() -> None:
    found = [noise_level(sine(3.0, noise)) for noise in (0.3, 0.1, 0.03, 0.01, 0.0)]
    assert found == sorted(found)  # type: ignore[type-var]
    # A tone of 0.4 has a power of 0.08.
    assert found[2] == pytest.approx(10 * np.log10(0.08 / 0.03**2), abs=1)
    assert noise_level(np.zeros(16_000, np.float32)) is None
    assert noise_level(sine(0.2)) is None
    assert noise_level(np.random.default_rng(0).standard_normal(32_000).astype(np.float32)) < 0  # type: ignore[operator]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.mp3",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:audio/mpeg;base64,AAAA",
        "data:audio/x-wav;base64,UklGRg==",
        "data:text/html;base64,PHNjcmlwdD4=",
        clip_uri(np.zeros(1600, np.float32)) + '" onerror="alert(1)',
        clip_uri(np.zeros(1600, np.float32)) + "\n",
        "",
        7,
    ],
)
def test_an_audio_panel_takes_no_other_address(address: object) -> None:
    (ready,) = report_panels.prepare([{"kind": "audio", "items": [{"audio": address, "expected": "a"}]}])
    assert ready.macro == "unknown"
    assert "a sound" in ready.view["words"]


@pytest.mark.parametrize(
    "side",
    [{}, {"steps": [["shout", "a", "b"]]}, {"steps": [["equal", "a"]]}, {"steps": 7}, "text"],
)
def test_an_audio_panel_of_another_shape_says_so(side: object) -> None:
    (ready,) = report_panels.prepare([{"kind": "audio", "items": [{"expected": "a", "tuned": side}]}])
    assert ready.macro == "unknown"
    assert "another shape" in ready.view["words"]
