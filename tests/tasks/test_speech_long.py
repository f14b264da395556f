"""Recordings longer than a model hears: cut by the times of their words on both sides, or named; nothing loses its end.

The recordings are drawn: words one after the other with pauses, an aligner's times beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import RATE, WORDS, Wave, save, sentences, speechlike, write_rows
from tests.speech.small_runs import listener, recipe_of, weights, whisper, words
from tunesmith import fine_tune
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe
from tunesmith.registry import find_task
from tunesmith.speech.audio import read_audio
from tunesmith.speech.segments import Levels, cut_rows


def talk(seed: int, seconds: float = 42.0) -> tuple[Wave, list[dict[str, Any]], str]:
    """A recording of drawn words, after every seventh a pause of a second; their times, and the text as written."""
    rng = np.random.default_rng(seed)
    pieces, found, at = [np.zeros(RATE // 5)], list[dict[str, Any]](), 0.2
    while at < seconds:
        word = str(rng.choice(WORDS))
        wave = speechlike(word, seed=seed)[1_600:-1_600]
        found.append({"word": word, "start": round(at, 3), "end": round(at + len(wave) / RATE, 3)})
        pieces += [wave, np.zeros(RATE if len(found) % 7 == 0 else RATE // 4)]
        at = sum(map(len, pieces)) / RATE
    whole = np.concatenate(pieces) + rng.normal(0, 1e-4, sum(map(len, pieces)))
    text = ", ".join(one["word"].title() for one in found) + "."
    return whole.astype(np.float32), found, text


def talks(folder: Path, name: str, seeds: range, **more: Any) -> Path:
    """A file of rows, each of one long recording."""
    rows = []
    for seed in seeds:
        wave, found, text = talk(seed)
        save(folder / "clips" / f"talk-{seed}.wav", wave)
        rows.append({"audio": f"clips/talk-{seed}.wav", "text": text, "words": found, "speaker": f"s{seed}", **more})
    return write_rows(folder / name, rows)


def prepared(tmp_path: Path, train: Path, held_out: Path | float = 0.2, *, task: str = "speech-to-text") -> Prepared:
    model = (
        whisper(tmp_path / "model", seconds=30, max_target_positions=448)
        if task == "speech-to-text"
        else listener(tmp_path / "model")
    )
    return prepare(read_recipe(recipe_of(tmp_path, task, model, train, held_out)))


@pytest.mark.parametrize("task", ["speech-to-text", "speech-ctc"])
def test_long_rows_are_cut_on_both_sides_and_said(tmp_path: Path, task: str) -> None:
    lines: list[str] = []
    train, held = talks(tmp_path / "train", "rows.jsonl", range(2)), talks(tmp_path / "eval", "rows.jsonl", range(2, 4))
    model = (
        whisper(tmp_path / "model", seconds=30, max_target_positions=448)
        if task == "speech-to-text"
        else listener(tmp_path / "model")
    )
    found = prepare(read_recipe(recipe_of(tmp_path, task, model, train, held)), say=lines.append)
    assert [f.code for f in found.findings if f.level == "error"] == []
    for rows, seeds in ((found.train, range(2)), (found.held_out, range(2, 4))):
        assert sum("2 rows longer than 30 seconds were cut" in line for line in lines) == 2
        assert any(f"into {len(rows):,} rows" in line for line in lines)
        for seed in seeds:
            wave, spoken, text = talk(seed)
            mine = [row for row in rows if row["speaker"] == f"s{seed}"]
            assert len(mine) >= 2
            assert " ".join(row["text"] for row in mine) == text
            assert [word for row in mine for word in row["words"]] == spoken
            assert all(row["seconds"] <= 30 for row in mine)
            assert len({row["id"] for row in mine}) == len(mine)
            for row in mine:
                heard = found.task.wave(row)
                begin = round(row["start"] * RATE)
                np.testing.assert_allclose(heard, wave[begin : begin + len(heard)], atol=1e-4)
                ends = (heard[: RATE // 20], heard[-RATE // 20 :])
                assert max(float(np.abs(end).max()) for end in ends) < 0.01, "a cut lies in a word"


def test_a_run_learns_from_parts_and_judges_by_parts(tmp_path: Path) -> None:
    train, held = talks(tmp_path / "train", "rows.jsonl", range(2)), talks(tmp_path / "eval", "rows.jsonl", range(2, 3))
    model = whisper(tmp_path / "model", seconds=30, max_target_positions=448)
    recipe = recipe_of(
        tmp_path, "speech-to-text", model, train, held, more=["stages: [{train: {top: 1}, epochs: 1, lr: 1e-3}]"]
    )
    run = fine_tune(recipe)
    scores = run.read_json("scores.json")
    assert scores["rows"] == len(read_rows(held, shape=find_task("speech-to-text").row_shape(None))) >= 2
    kept = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(one["row"]["text"] for one in kept) == sorted(
        row["text"] for row in read_rows(held, shape=find_task("speech-to-text").row_shape(None))
    )
    assert "were cut in silences" in (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv", "metadata.jsonl", "folder"])
def test_every_source_that_can_hold_word_times_is_cut(tmp_path: Path, name: str) -> None:
    wave, spoken, text = talk(1)
    save(tmp_path / "talk.wav", wave)
    save(tmp_path / "short.wav", speechlike("sun rain"))
    file = "rows.jsonl" if name == "folder" else name
    column = "file_name" if name.startswith("metadata") else "audio"
    given: Any = spoken if file.endswith(".jsonl") else json.dumps(spoken)
    rows = [{column: "talk.wav", "text": text, "words": given}, {column: "short.wav", "text": "sun rain", "words": ""}]
    source = write_rows(tmp_path / file, rows)
    if name == "folder" or name.startswith("metadata"):
        source = source.parent
    store = read_rows(source, shape=find_task("speech-to-text").row_shape(None))
    assert len(store) >= 3
    assert store[len(store) - 1]["text"] == "sun rain"
    assert "start" not in store[len(store) - 1]
    assert " ".join(row["text"] for row in store if row["audio"] == "talk.wav") == text
    assert "1 rows longer than 30 seconds" in "\n".join(store.report.notes)
    assert "with " in "\n".join(store.report.notes), "the table of recordings and transcripts is shown"


def test_columns_of_other_names_and_ids_go_with_the_parts(tmp_path: Path) -> None:
    wave, spoken, text = talk(1)
    save(tmp_path / "talk.wav", np.concatenate([np.zeros(5 * RATE, dtype=np.float32), wave]))
    moved = [{**one, "start": one["start"] + 5, "end": one["end"] + 5} for one in spoken]
    row = {"id": 7, "audio": "talk.wav", "said": text, "from": 5.0, "words": moved, "text": "not this"}
    source = write_rows(tmp_path / "rows.jsonl", [row])
    shape = find_task("speech-to-text").row_shape(None)
    store = read_rows(source, shape=shape, columns={"text": "said", "start": "from"})
    assert [row["id"] for row in store] == [f"7#{n}" for n in range(1, len(store) + 1)]
    assert " ".join(row["text"] for row in store) == text
    assert store[0]["start"] >= 5.0


@pytest.mark.parametrize("task", ["speech-to-text", "speech-ctc"])
def test_a_long_row_without_word_times_is_an_error_that_names_it(tmp_path: Path, task: str) -> None:
    data = tmp_path / "data"
    rows = [{"id": f"r{n}", "audio": f"{n}.wav", "text": text} for n, text in enumerate(sentences(11, words=2))]
    for row in rows:
        save(data / row["audio"], speechlike(row["text"]))
    save(data / "long.wav", np.resize(speechlike("somebody speaks"), 31 * RATE))
    rows.append({"id": "speech", "audio": "long.wav", "text": "sun rain " * 20})
    source = write_rows(data / "rows.jsonl", rows)
    found = {finding.code: finding for finding in prepared(tmp_path, source, task=task).findings}["too-long"]
    assert (found.level, found.rows) == ("error", ("speech",))
    assert "speech: 31.0" in found.what
    assert "a column words" in found.fix
    model = tmp_path / "model"
    with pytest.raises(UserError, match="too-long") as fault:
        fine_tune(recipe_of(tmp_path, task, model, source))
    assert "speech" in fault.value.where


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: [*w[:3], {**w[3], "start": 900.0, "end": 901.0}], "(900 to 901) lies outside of the recording"),
        (lambda w: [{**w[0], "end": 40.0}], "'WORD' cannot be cut off within 30 seconds"),
        (lambda w: [*w[:2], {**w[1], "start": 0.1}], "words whose times run backwards"),
    ],
)
def test_times_that_no_cut_can_follow_are_named_with_their_line(tmp_path: Path, change: Any, said: str) -> None:
    wave, spoken, text = talk(1)
    save(tmp_path / "talk.wav", wave)
    source = write_rows(tmp_path / "rows.jsonl", [{"audio": "talk.wav", "text": text, "words": change(spoken)}])
    with pytest.raises(UserError) as fault:
        read_rows(source, shape=find_task("speech-to-text").row_shape(None))
    assert said.replace("WORD", spoken[0]["word"]) in fault.value.what
    assert "(talk.wav)" in fault.value.what
    assert fault.value.where.endswith("rows.jsonl:1")
    assert fault.value.fix


def test_what_is_to_be_transcribed_is_not_cut(tmp_path: Path) -> None:
    source = talks(tmp_path, "rows.jsonl", range(1))
    shape = find_task("speech-to-text").row_shape(None, answered=False)
    store = read_rows(source, shape=shape)
    assert [row["seconds"] > 40 for row in store] == [True]


def test_hours_are_cut_in_pieces_as_in_one(tmp_path: Path) -> None:
    wave, spoken, text = talk(3, 125.0)
    row = {"id": "r", "text": text, "words": spoken}
    pieces = [wave[at : at + 60 * RATE] for at in range(0, len(wave), 60 * RATE)]
    assert len(pieces) == 3
    assert cut_rows(row, Levels(iter(pieces), RATE)) == cut_rows(row, wave)
    save(tmp_path / "talk.wav", wave, subtype="FLOAT")
    source = write_rows(tmp_path / "rows.jsonl", [{**row, "audio": "talk.wav"}])
    store = read_rows(source, shape=find_task("speech-to-text").row_shape(None))
    assert [(one["start"], one["end"]) for one in store] == [
        (one["start"], one["end"])
        for one in cut_rows(row, read_audio(tmp_path / "talk.wav"))  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize("seconds", [30.0, 30.04])
def test_a_row_of_just_thirty_seconds_is_learned_however_it_varies(tmp_path: Path, seconds: float) -> None:
    """Slowed down it would be longer than the model hears: then it keeps its speed."""
    save(tmp_path / "a.wav", np.resize(speechlike("somebody speaks"), round(seconds * RATE)))
    row = {"id": "a", "audio": str(tmp_path / "a.wav"), "text": "sun rain", "seconds": seconds}
    kind = find_task("speech-to-text")
    options = kind.Options(language="en", augment={"speed": {"probability": 1.0, "factor": [0.8, 0.9]}})
    task = kind(options, weights(whisper(tmp_path / "model", seconds=30, max_target_positions=448)))
    assert task.hears == 30
    for rng in (None, np.random.default_rng(0)):
        example = task.encode(row, rng)
        assert words().eos_token_id in example["targets"].tolist()
        assert task.count(task.collate([example]))["tokens"] > 2


def test_parts_of_one_recording_stay_on_one_side_where_rows_are_grouped(tmp_path: Path) -> None:
    source = talks(tmp_path / "data", "rows.jsonl", range(5))
    recipe = recipe_of(tmp_path, "speech-ctc", listener(tmp_path / "model"), source, 0.3)
    found = prepare(read_recipe(recipe, ["data.group_by=audio"]))
    sides = [{row["audio"] for row in rows} for rows in (found.train, found.held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 5


def test_a_long_row_that_somebody_accepted_is_an_error_and_no_stack_trace(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.resize(speechlike("somebody speaks"), 31 * RATE))
    row = {"id": "a", "audio": str(tmp_path / "a.wav"), "text": "sun rain", "seconds": 31.0}
    kind = find_task("speech-to-text")
    task = kind(kind.Options(language="en"), weights(whisper(tmp_path / "model", seconds=30)))
    with pytest.raises(UserError, match="longer than the 30 seconds") as fault:
        task.count(task.collate([task.encode(row)]))
    assert "too-long" in fault.value.fix
