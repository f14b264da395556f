"""The recipe: every fault at its line and column with its fix; overrides, origins, and the resolved text."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import UserError
from tunesmith.recipe import Recipe, Source, read_recipe
from tunesmith.recipe.read import resolve_options
from tunesmith.recipe.resolved import difference, recipe_digest, resolved_yaml

HEAD = "task: text-classification\nmodel: org/name\ndata: {train: rows.csv}\n"

GOOD = """\
task: text-classification
model: starter:minilm
data:
  train: rows.csv
  columns: {text: body}
stages:
  - {train: head, epochs: 5, lr: 1e-3}
  - train: {top: 2}
    epochs: 3
    lr: auto
    layer_decay: 0.8
cache: {use: on}
options: {max_length: 64}
"""


def read(folder: Path, text: str, *overrides: str) -> Source:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> UserError:
    with pytest.raises(UserError) as caught:
        read(folder, text, *overrides)
    error = caught.value
    error.where = error.where.replace(f"{folder / 'recipe.yaml'}:", "")
    return error


BAD = [
    # unknown settings
    ("bacth: {rows: 2}", "4:1", "bacth: there is no such setting", "write 'batch'"),
    ("lr: 1e-3", "4:1", "lr: there is no such", "'lr' stands in a stage: move it to stages.0.lr"),
    ("name: x", "4:1", "name: there is", "'name' stands in model, data, optimizer or run"),
    ("learning_rate: 1", "4:1", "learning_rate: there", "'learning_rate' is called 'lr' here and stands in a stage"),
    ("max_length: 3", "4:1", "max_length: there", "what belongs to the task stands in options"),
    ("batch: {row: 3}", "4:9", "batch.row: there is no such setting", "write 'rows'"),
    ("batch:\n  rows: 2\n  lr: 3", "6:3", "batch.lr: there", "move it to stages.0.lr"),
    ("adapter: {lora_r: 8}", "4:11", "adapter.lora_r: there", "write 'r'"),
    ("stages:\n  - {train: head, epochs: 1, batch_size: 8}", "5:30", "stages.0.batch_size", "move it to batch.rows"),
    ("stages: [{train: {tpo: 1}, epochs: 1}]", "4:19", "stages.0.train.tpo: there is no such", "write 'top'"),
    # wrong types and ranges
    ("batch: {rows: x}", "4:15", "got 'x' (text), wants a whole number above 0", "write a whole number above 0"),
    ("batch: {rows: 0}", "4:15", "batch.rows: got 0, wants a whole number above 0", "write a whole number above 0"),
    ("batch: {rows: '32'}", "4:15", "batch.rows: got '32' (text)", "write 32, without quotes"),
    ("batch: {rows: 32.0}", "4:15", "batch.rows: got 32.0", "write 32"),
    ("batch: {rows: 1_000}", "4:15", "batch.rows: got '1_000' (text)", "write 1000"),
    ("batch: {rows: true}", "4:15", "batch.rows: got true, wants a whole number", "write a whole number above 0"),
    ("batch: {micro: 2.5}", "4:16", "wants a whole number above 0, or auto", "write a whole number above 0, or auto"),
    ("batch: 32", "4:8", "batch: got 32, wants a section with settings", "write batch: {rows: 32}"),
    ("batch:", "4:1", "batch: has nothing in it", "write its settings under it, or remove the line"),
    (
        "stages: [{train: hed, epochs: 1}]",
        "4:18",
        "got 'hed' (text), wants head, all, adapter or {top: n}",
        "write 'head'",
    ),
    ("stages: [{train: [head], epochs: 1}]", "4:18", "got a list, wants head, all, adapter or {top: n}", "write head"),
    ("stages: [{train: {top: 0}, epochs: 1}]", "4:24", "stages.0.train.top: got 0", "write a whole number above 0"),
    ("stages: [{train: {}, epochs: 1}]", "4:11", "stages.0.train.top: is missing", "add 'top: ...'"),
    ("stages: [{train: head, epochs: 1, lr: .nan}]", "4:39", "wants a number above 0, or auto", "write a number"),
    (
        "stages: {train: head}",
        "4:9",
        "stages: got a section, wants a list of sections",
        "begin each entry of stages with",
    ),
    ("stages: []", "4:9", "stages: is an empty list", "write at least one entry"),
    ("stages: [head]", "4:10", "stages.0: got 'head' (text), wants a section", "write stages.0: {train: head}"),
    ("stages: [{epochs: 1}]", "4:10", "stages.0.train: is missing", "add 'train: ...' under stages.0"),
    ("optimizer: {betas: [0.9]}", "4:20", "optimizer.betas: got a list", "such as [0.9, 0.999]"),
    ("optimizer: {betas: [0.9, 1.0]}", "4:26", "optimizer.betas.1: got 1.0", "a number from 0 to below 1"),
    ("optimizer: {clip: .inf}", "4:19", "optimizer.clip: got inf", "write a number above 0, or null"),
    ("run: {name: -x}", "4:13", "run.name: got '-x' (text)", "that begins with a letter or digit"),
    ("run: {track: wandb}", "4:14", "run.track: got 'wandb' (text)", "write it as a list: [wandb]"),
    ("run: {track: [wnadb]}", "4:15", "run.track.0: got 'wnadb' (text)", "write 'wandb'"),
    ("run: {seed: 1e3}", "4:13", "run.seed: got 1000.0", "write 1000"),
    ("run: {seed: 2024-01-01}", "4:13", "run.seed: got '2024-01-01' (text)", "write a whole number"),
    ("cache: {use: yes}", "4:14", "cache.use: got 'yes' (text), wants auto, on or off", "write 'on'"),
    ("cache: {use: true}", "4:14", "cache.use: got true", "write 'on'"),
    ("batch: {buckets: off}", "4:18", "batch.buckets: got 'off' (text), wants true or false", "write false"),
    ("audit: {accept: {duplicate-rows: ''}}", "4:34", "audit.accept.duplicate-rows: got ''", "text that is not empty"),
    ("adapter: {targets: [1]}", "4:21", "adapter.targets.0: got 1, wants text", "put quotes around it: '1'"),
    ("options: [1]", "4:10", "options: got a list", "write {name: value} pairs"),
    # conflicts and what nothing uses
    ("stages: [{train: head, epochs: 1, steps: 2}]", "4:35", "gives both epochs and steps (1 and 2)", "keep one"),
    ("stages: [{train: head}]", "4:10", "stages.0: this stage has no length", "add 'epochs: ...' or 'steps: ...'"),
    ("stages: [{train: adapter, epochs: 1}]", "4:18", "trains an adapter, and the recipe has none", "adapter: {r: 16}"),
    ("adapter: {r: 8}\nstages: [{train: head, epochs: 1}]", "4:1", "no stage trains the adapter", "'train: adapter'"),
    ("stages: [{train: head, epochs: 1, layer_decay: 0.5}]", "4:35", "trains the head alone", "train {top: n} or all"),
    ("stages: [{train: head, steps: 5, warmup: 9}]", "4:42", "never reach the rate", "below 5, or a share below 1"),
    ("cache: {use: off, dtype: bf16}", "4:19", "cache.dtype: nothing uses it", "remove it, or write 'use: auto'"),
    ("cache: {use: off, max_gb: 20}", "4:19", "cache.max_gb: nothing uses it", "remove it"),
    ("engine: {device: cpu, precision: fp16}", "4:34", "fp16 does not train on a CPU", "write fp32 or bf16"),
    ("batch: {rows: 8, micro: 16}", "4:25", "16 rows in a forward pass are more than the 8", "write 8 or less"),
    ("optimizer: {name: sgd, eps: 1e-6}", "4:24", "optimizer.eps: nothing uses it", "remove it"),
    # YAML itself
    (
        "batch: {rows: 1}\nbatch: {rows: 2}",
        "5:1",
        "'batch' stands twice in one section, in line 4 and in line 5",
        "remove one",
    ),
    ("batch:\n  rows: 1\n  rows: 2", "6:3", "'rows' stands twice", "remove one"),
    ("batch:\n\trows: 1", "5:1", "not valid YAML", "indent with spaces, not with tabs"),
    ("options: {a: [1}", "4:16", "not valid YAML", "close the list with ']'"),
    ("options: a: b", "4:11", "not valid YAML: mapping values", "put quotes around a value that holds ': '"),
    ("options: {a: *b}", "4:14", "undefined alias", "put quotes around a text that begins with '*'"),
    ("options: {a: !!python/name:os.system x}", "4:14", "the mark !!python/name:os.system is not", "remove the mark"),
    ("options: {a: !!timestamp 2024-01-01}", "4:14", "the mark !!timestamp is not allowed", "remove the mark"),
    ("options: {a: !!int x}", "4:14", "'x' is marked as !!int", "remove the mark"),
    ("options: {a: &a [*a]}", "4:14", "expand to more than", "write the values out"),
    ("options: {? [a] : b}", "4:13", "a setting's name must be one word", "write 'name: value'"),
    ("---\ntask: other", "4:1", "another document", "remove the '---' line"),
    ("options: {a: 'x}", "5:1", "not valid YAML", "close the quotes that were opened"),
    ("options: {a: \x07}", "4:14", "character number 7 can't stand in a recipe", "save the file as UTF-8"),
    ('options: {a: "\\ud800"}', "4:14", "half a character", "write the character itself"),
]


@pytest.mark.parametrize(("lines", "where", "what", "fix"), BAD, ids=[lines[:40] for lines, *_ in BAD])
def test_bad_recipe_names_place_and_fix(tmp_path: Path, lines: str, where: str, what: str, fix: str) -> None:
    error = refusal(tmp_path, HEAD + lines + "\n")
    assert (error.where.split(":")[-2:], True) == (where.split(":"), what in error.what), error
    assert fix in error.fix.split("\nand ")[0], error
    for jargon in ("Input should", "pydantic", "literal", "validation error", "extra_forbidden", "NoneType"):
        assert jargon not in str(error)


BAD_WHOLE = [
    ("- a\n", "1:1", "the recipe is a list", "beginning with 'task: ...'"),
    ("hello\n", "1:1", "the recipe is one text", "beginning with 'task: ...'"),
    ("", "1:1", "the recipe is empty", "beginning with 'task: ...'"),
    ("# only a comment\n", "1:1", "the recipe is empty", "beginning with 'task: ...'"),
    ("task: t\nmodel: m\n", "1:1", "data: is missing", "add 'data: ...': the rows to learn from"),
    (
        "task: t\nmodel: {name: x, revison: y}\ndata: {train: a}\n",
        "2:18",
        "model.revison: there is no",
        "write 'revision'",
    ),
    ("task: t\nmodel: 5\ndata: {train: a}\n", "2:8", "model: got 5, wants a name, or {name: ...}", "write a name"),
    ("task: t\nmodel: ''\ndata: {train: a}\n", "2:8", "model.name: got ''", "write text that is not empty"),
    (
        "task: t\nmodel: {name: x, revision: 1234567}\ndata: {train: a}\n",
        "2:28",
        "got 1234567, wants text",
        "'1234567'",
    ),
    (
        "task: t\nmodel: {name: 'starter:x', revision: a}\ndata: {train: a}\n",
        "2:28",
        "model.revision: nothing uses",
        "remove",
    ),
    ("task: t\nmodel: m\ndata: a.csv\n", "3:7", "data: got 'a.csv' (text)", "write data: {train: a.csv}"),
    ("task: t\nmodel: m\ndata: {trian: a.csv}\n", "3:8", "data.trian: there is no such setting", "write 'train'"),
    (
        "task: t\nmodel: m\ndata: {train: a, eval: 1.5}\n",
        "3:24",
        "above 0 and below 1, or text",
        "write a number above 0",
    ),
    ("task: t\nmodel: m\ndata: {train: a, eval: 20%}\n", "3:24", "a share is a number", "write 0.2, without quotes"),
    (
        "task: t\nmodel: m\ndata: {train: a, eval: b, group_by: s, validation: 0}\n",
        "3:27",
        "data.group_by: nothing uses it",
        "remove it",
    ),
    (
        "task: t\nmodel: m\ndata: {train: a, eval: b, stratify: true, validation: 0}\n",
        "3:27",
        "data.stratify: nothing uses",
        "remove it",
    ),
    ("task: t\nmodel: m\ndata: {train: a, format: csv, split: x}\n", "3:31", "data.format is csv", "'format: dataset'"),
    ("task: t\nmodel: m\ndata: {train: a, format: cvs}\n", "3:26", "got 'cvs' (text), wants auto, csv,", "write 'csv'"),
    ("task: t\nmodel: m\ndata: {train: a, broken_rows: 1 %}\n", "3:31", "wants a number from 0 to 1", "write 0.01"),
]


@pytest.mark.parametrize(("text", "where", "what", "fix"), BAD_WHOLE, ids=[what[:30] for _, _, what, _ in BAD_WHOLE])
def test_bad_whole_recipe(tmp_path: Path, text: str, where: str, what: str, fix: str) -> None:
    error = refusal(tmp_path, text)
    assert error.where == where, error
    assert what in error.what, error
    assert fix in error.fix, error


def test_one_typo_is_one_fault(tmp_path: Path) -> None:
    assert "more fault" not in str(refusal(tmp_path, "task: t\nmodel: m\ndata: {trian: a.csv}\n"))


def test_first_fault_leads_and_the_others_are_listed_by_place(tmp_path: Path) -> None:
    error = refusal(tmp_path, HEAD + "run: {seed: -1}\nbatch:\n  rows: 0\n  bukets: true\n")
    assert error.what.startswith("run.seed: got -1")
    lines = error.fix.splitlines()
    assert lines[1] == "and 2 more faults:"
    place = tmp_path / "recipe.yaml"
    assert lines[2].startswith(f"  {place}:6:9: batch.rows: got 0")
    assert lines[3].startswith(f"  {place}:7:3: batch.bukets: there is no such setting")
    assert "write 'buckets'" in lines[3]


def test_file_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "sentiment.yaml").write_text(GOOD)
    cases: list[tuple[Path, str, str]] = [
        (tmp_path / "sentimnet.yaml", "there is no such file", f"did you mean '{tmp_path / 'sentiment.yaml'}'?"),
        (tmp_path / "sentiment", "there is no such file", f"did you mean '{tmp_path / 'sentiment.yaml'}'?"),
        (tmp_path / "none" / "x.yaml", "there is no such file", "there is no folder"),
        (tmp_path, "this is a folder", "name a file in it: sentiment.yaml"),
        (tmp_path / ("x" * 300), "can't read the recipe: File name too long", "name a file that you may read"),
    ]
    for path, what, fix in cases:
        with pytest.raises(UserError) as caught:
            read_recipe(path)
        assert what in caught.value.what
        assert fix in caught.value.fix
        assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("raw", "where", "what"),
    [
        (b"task: t\n\x89PNG\r\n\x1a\n", "2:1", "a byte that is not UTF-8"),
        (b"task: \x00\x00", "1:7", "character number 0"),
        (b"a: " + b"[" * 5000, "1:42", "nested more than 40 levels"),
        (b"a: " + b"x" * 1_000_001, "1:1", "longer than 1,000,000 bytes"),
        (b"task: " + b"9" * 5000, "1:7", "a whole number of 5000 digits"),
    ],
)
def test_garbage(tmp_path: Path, raw: bytes, where: str, what: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(raw)
    with pytest.raises(UserError) as caught:
        read_recipe(path)
    assert caught.value.where == f"{path}:{where}"
    assert what in caught.value.what


def test_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    error = refusal(tmp_path, HEAD + "options:\n" + "\n".join(lines) + "\n")
    assert "expand to more than 20,000 values" in error.what


def test_yaml_12_scalars(tmp_path: Path) -> None:
    values = "{a: 1e-3, b: on, c: no, d: 010, e: 2024-01-01, f: 1:30, g: 0x10, h: 0o10, i: .5, j: ~, k: True, l: -1E+2}"
    options = read(tmp_path, HEAD + f"options: {values}\n").recipe.options
    assert options == {
        "a": 0.001, "b": "on", "c": "no", "d": 10, "e": "2024-01-01", "f": "1:30", "g": 16, "h": 8, "i": 0.5,
        "j": None, "k": True, "l": -100.0,
    }  # fmt: skip
    assert type(options["d"]) is int


def test_encodings_read_alike(tmp_path: Path) -> None:
    text = GOOD.replace("body", "körper")
    recipes = []
    for encoding, newline in [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")]:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.replace("\n", newline).encode(encoding))
        source = read_recipe(path)
        assert source.where("stages.1.lr") == f"{path}:10:5"
        recipes.append(source.recipe)
    assert recipes[0] == recipes[1] == recipes[2]
    assert recipes[0].data.columns == {"text": "körper"}


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = HEAD + "stages:\n  - &first {train: head, epochs: 1, lr: 0.1}\n  - {<<: *first, train: {top: 1}}\n"
    source = read(tmp_path, text)
    assert source.recipe.stages is not None
    assert source.recipe.stages[1].model_dump(include={"train", "epochs", "lr"}) == {
        "train": {"top": 1}, "epochs": 1.0, "lr": 0.1,
    }  # fmt: skip
    assert source.where("stages.1.lr").endswith("recipe.yaml:5:37")
    assert source.where("stages.1.train").endswith("recipe.yaml:6:18")


def test_where_points_at_names_values_and_ancestors(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD, "stages.0.epochs=2", "batch.rows=4")
    place = str(tmp_path / "recipe.yaml")
    assert source.where("stages", 1, "lr") == source.where("stages.1.lr") == f"{place}:10:5"
    assert source.where("stages", 1, "lr", value=True) == f"{place}:10:9"
    assert source.where("options", "max_lenght") == f"{place}:13:1"
    assert source.where("model.name") == f"{place}:2:8"
    assert source.where("engine.device") == f"{place}:1:1"
    assert source.where("stages.0.epochs") == "command line: stages.0.epochs=2"
    assert source.where("batch") == "command line: batch.rows=4"
    error = source.error(("options", "max_lenght"), "options.max_lenght: no such option", "write 'max_length'")
    assert str(error) == (f"error: options.max_lenght: no such option\n  --> {place}:13:1\n  fix: write 'max_length'")


def test_origins_cover_every_value(tmp_path: Path) -> None:
    origins = read(tmp_path, GOOD, "stages.0.epochs=2", "adapter.r=8", "stages.1.train=adapter").origins
    expected = {
        "task": "recipe", "model.name": "recipe", "model.revision": "default", "data.eval": "default",
        "data.columns.text": "recipe", "stages.0.epochs": "command line", "stages.0.lr": "recipe",
        "stages.0.warmup": "default", "stages.1.train": "command line", "adapter.r": "command line",
        "adapter.kind": "default", "cache.use": "recipe", "options.max_length": "recipe",
        "optimizer.betas": "default", "run.track": "default",
    }  # fmt: skip
    assert {key: origins.get(key) for key in expected} == expected
    assert not [key for key in origins if key in ("stages", "data", "adapter", "optimizer")]


def test_overrides_set_create_and_unset(tmp_path: Path) -> None:
    given = ["stages.0.epochs=2", "options.max_length=128", "data.eval=0.1", "adapter.r=8", "stages.1.train=adapter",
             "model=other", "optimizer.clip=null", "run.seed=0x10", "options.words=[a, 'b c']"]  # fmt: skip
    recipe = read(tmp_path, GOOD, *given).recipe
    assert recipe.stages is not None
    assert recipe.adapter is not None
    assert (recipe.stages[0].epochs, recipe.stages[1].train, recipe.adapter.r) == (2.0, "adapter", 8)
    assert (recipe.model.name, recipe.data.eval, recipe.optimizer.clip, recipe.run.seed) == ("other", 0.1, None, 16)
    assert recipe.options == {"max_length": 128, "words": ["a", "b c"]}
    back = read(
        tmp_path, GOOD.replace("use: on", "use: off"), "cache.use=null", "options.max_length=null", "stages=null"
    )
    assert (back.recipe.cache.use, back.recipe.options, back.recipe.stages) == ("auto", {}, None)
    assert back.origins["cache.use"] == "default"
    deeper = read(tmp_path, GOOD, "stages.0.train.top=3").recipe.stages
    assert deeper is not None
    assert deeper[0].model_dump()["train"] == {"top": 3}


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("stages.9.epochs=2", "stages.9: there are 2 entries in stages, counted from 0", "write stages.0 to stages.1"),
        ("stages.x.lr=3", "'x' is no position in it", "write stages.0 for the first, stages.1 for the last"),
        ("stages.-1.lr=3", "'-1' is no position in it", "write stages.0 for the first"),
        ("stages.0=null", "can't be unset", "write it in the recipe"),
        ("bacth.rows=3", "bacth: there is no such setting", "write 'batch'"),
        ("batch.rows=x", "batch.rows: got 'x' (text)", "write a whole number above 0"),
        ("batch.rows", "'batch.rows' is no override", "write key=value, for example stages.0.epochs=2"),
        ("=3", "'=3' is no override", "write key=value"),
        ("batch..rows=3", "is no override", "write key=value"),
        ("run.name=", "run.name: has no value", "run.name=null to unset it"),
        ("data.eval.x=3", "data.eval: has no settings below it, it wants a number", "write data.eval=..."),
        ("data.train=a #1.csv", "YAML would read only 'a'", "put quotes around the value"),
        ("data.train=null", "data.train: is missing", "add 'train: ...' under data"),
        ("batch.rows=[", "not valid YAML", "close the bracket"),
        ("stages.1.steps=7", "gives both epochs and steps (3 and 7)", "keep one of the two"),
        ("cache.max_gb=x", "cache.max_gb: got 'x' (text), wants a number above 0", "write a number above 0"),
    ],
)
def test_bad_override(tmp_path: Path, override: str, what: str, fix: str) -> None:
    error = refusal(tmp_path, GOOD, override)
    assert error.where == f"command line: {override}"
    assert what in error.what
    assert fix in error.fix


def test_override_below_a_fault_does_not_hide_it(tmp_path: Path) -> None:
    error = refusal(tmp_path, HEAD + "batch: 3\n", "batch.rows=4")
    assert error.what == "batch: the recipe gives 3 here, no section"
    assert error.where == "command line: batch.rows=4"


def test_damaged_recipes_are_read_or_refused_with_a_fix(tmp_path: Path) -> None:
    random = Random(0)
    pieces = [
        *":{}[],-#&*!|>'\"%@`\n\t ~?",
        "<<: *a",
        "&a ",
        "null",
        "true",
        "!!int ",
        "\u2028",
        "\x00",
        "{a: 1}",
        ".inf",
    ]
    read_well, refused = 0, []
    for _ in range(300):
        text = list(GOOD)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(text))
            text[at : at + random.randint(0, 4)] = [random.choice(pieces)]
        try:
            source = read(tmp_path, "".join(text))
        except UserError as error:
            refused.append(error)
            continue
        read_well += 1
        assert read(tmp_path, resolved_yaml(source.recipe, source.origins)).recipe == source.recipe
    assert min(read_well, len(refused)) > 20
    place = f"{tmp_path / 'recipe.yaml'}:"
    assert [error for error in refused if not (error.what and error.fix and error.where.startswith(place))] == []


def test_override_of_stages_that_are_not_there(tmp_path: Path) -> None:
    error = refusal(tmp_path, HEAD, "stages.0.epochs=2")
    assert "the recipe has no stages of its own" in error.what
    assert "stages='[{train: head, epochs: 1}]'" in error.fix


def test_resolved_yaml_reads_back_with_its_origins(tmp_path: Path) -> None:
    hard = {
        "s": ["on", "1e-3", "null", "2024-01-01", "a: b", "# x", " lead", 'é\u2028\t"\\', "1:30", "", "-", "😀", "~"],
        "n": [1e-8, 1e22, 0.1, -3, math.inf, True, None],
        "d": {"deep": {"true": 1, "a.b": {}}, "list": [{"a": 1}, {"b": [[1], {"c": []}]}], "mixed": [1, {"a": "x, y"}]},
    }
    source = read(tmp_path, GOOD, "stages.0.epochs=2", "adapter.r=8", "stages.1.train=adapter", "cache.use=off")
    recipe = source.recipe.model_copy(update={"options": hard})
    text = resolved_yaml(recipe, {**source.origins, "batch.rows": "auto", "options": "recipe"})
    assert "    lr: 0.001  # recipe\n" in text
    assert "  - train: head  # recipe\n    epochs: 2.0  # command line\n" in text
    assert "  rows: 32  # auto\n" in text
    path = tmp_path / "resolved.yaml"
    path.write_text(text, encoding="utf-8")
    again = read_recipe(path)
    assert again.recipe == recipe
    known = {key: origin for key, origin in source.origins.items() if key.partition(".")[0] != "options"}
    known["batch.rows"] = "auto"
    assert {key: again.origins.get(key) for key in known} == known
    leaves = [line for line in text.splitlines()[1:] if not line.rstrip().endswith(":")]
    assert all(line.rpartition("  # ")[2] in ("default", "recipe", "command line", "auto") for line in leaves)
    assert resolved_yaml(again.recipe, again.origins) == text


def test_edited_resolved_recipe_counts_as_written(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD.replace("use: on", "use: off"))
    text = resolved_yaml(source.recipe, source.origins)
    assert read(tmp_path, text).origins["cache.dtype"] == "default"
    error = refusal(tmp_path, text.replace("dtype: fp32  # default", "dtype: bf16  # default"))
    assert "cache.dtype: nothing uses it" in error.what


def test_what_the_plan_decided_contradicts_nothing(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD.replace("cache: {use: on}", "cache: {dtype: bf16}"))
    decided = source.recipe.model_copy(update={"cache": source.recipe.cache.model_copy(update={"use": "off"})})
    text = resolved_yaml(decided, {**source.origins, "cache.use": "auto"})
    assert read(tmp_path, text).recipe == decided


def test_digest_and_difference_agree(tmp_path: Path) -> None:
    one = read(tmp_path, GOOD).recipe
    same = read(tmp_path, GOOD, "run.name=other", "run.folder=x", "run.keep=9", "run.checkpoint_steps=3",
                "run.checkpoint_seconds=1", "run.track=[tensorboard]").recipe  # fmt: skip
    assert recipe_digest(one) == recipe_digest(same)
    assert difference(one, same) == []
    assert "run.keep: 2 -> 9" in difference(one, same, ignore=())
    for overrides, lines in [
        (["run.seed=1"], ["run.seed: 0 -> 1"]),
        (["stages.0.lr=0.01"], ["stages.0.lr: 0.001 -> 0.01"]),
        (["data.columns={label: y}"], ["data.columns.text: body -> nothing", "data.columns.label: nothing -> y"]),
        (["options.extra=true"], ["options.extra: nothing -> true"]),
    ]:
        other = read(tmp_path, GOOD, *overrides).recipe
        assert difference(one, other) == lines
        assert recipe_digest(one) != recipe_digest(other)
    shorter = read(tmp_path, GOOD, "stages=[{train: head, epochs: 5}]").recipe
    assert len(recipe_digest(shorter)) == 64
    assert difference(one, shorter)[0].startswith("stages.1: {train: {top: 2}, epochs: 3.0")


class Options(BaseModel):
    """Settings of a task, for these tests."""

    model_config = ConfigDict(extra="forbid")
    max_length: int = Field(default=128, gt=0, description="Longest text in tokens.")
    pooling: str = "mean"


def test_options_are_checked_at_their_place(tmp_path: Path) -> None:
    source = resolve_options(read(tmp_path, GOOD), Options)
    assert source.recipe.options == {"max_length": 64, "pooling": "mean"}
    assert (source.origins["options.max_length"], source.origins["options.pooling"]) == ("recipe", "default")
    assert source.written("options")
    assert not source.written("options.pooling")
    place = str(tmp_path / "recipe.yaml")
    for options, where, what, fix in [
        ("{max_lenght: 64}", "13:11", "options.max_lenght: there is no such setting", "write 'max_length'"),
        ("{max_length: 0}", "13:23", "options.max_length: got 0, wants a whole number above 0", "write a whole number"),
        ("{lr: 1}", "13:11", "options.lr: there is no such setting", "move it to stages.0.lr"),
    ]:
        bad = read(tmp_path, GOOD.replace("{max_length: 64}", options))
        with pytest.raises(UserError) as caught:
            resolve_options(bad, Options)
        assert caught.value.where == f"{place}:{where}"
        assert what in caught.value.what
        assert fix in caught.value.fix


def test_every_field_of_the_recipe_is_described() -> None:
    from tunesmith.recipe.settings import every

    settings = list(every(Recipe))
    assert len(settings) > 50
    assert [setting.key for setting in settings if not setting.description] == []


def test_import_is_light() -> None:
    code = (
        "import sys, tunesmith.recipe.read, tunesmith.recipe.explain, tunesmith.recipe.schema;"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets', 'accelerate', 'peft'} & set(sys.modules);"
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
