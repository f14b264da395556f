"""What the docs show is so: every command runs, every setting exists, every link leads somewhere, code trains."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

from tests.fixtures import small_pipelines, sounds
from tunesmith.diagnose.found import Exit
from tunesmith.errors import EXIT_DONE, UserError
from tunesmith.machine import cache_folder
from tunesmith.model.starter import locate
from tunesmith.model.weights import Weights
from tunesmith.pictures.augment.presets import PRESETS
from tunesmith.pictures.augment.settings import AugmentSettings
from tunesmith.recipe import read_recipe, resolve_options
from tunesmith.recipe.explain import explain
from tunesmith.recipe.sections import Recipe, Section
from tunesmith.recipe.settings import every
from tunesmith.registry import find_task, task_names
from tunesmith.task import Task
from tunesmith.traits import Traits

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("text-classification", "language-models", "recipe", "tasks")),
    ROOT / "docs/pictures.md",
    ROOT / "docs/speech.md",
    ROOT / "docs/image-generation.md",
    ROOT / "docs/planning.md",
    ROOT / "docs/audit.md",
    ROOT / "docs/diagnose.md",
    ROOT / "docs/retrieval.md",
    ROOT / "docs/connectors.md",
    ROOT / "docs/server.md",
]
DEMO = "recipes/text-classification.yaml"
LANGUAGE = "recipes/text-to-sql.yaml"
LANGUAGE_ROWS = {"train": 14, "eval": 4}
LANGUAGE_SMALL = [
    "options.shots=[1]",
    "options.max_new_tokens=6",
    "options.forgetting=null",
    "data.validation=0",
    "data.group_by=null",
]
PICTURES = "recipes/image-classification.yaml"
PICTURE_PAGE = ROOT / "docs/pictures.md"
PICTURE_TASKS = ["image-classification", "object-detection", "image-segmentation"]
PICTURES_SMALL = [
    "options.size=64",
    "audit.accept={few-rows: drawn, near-picture-leak: drawn, repeated-picture: drawn}",
]
SPEECH = "recipes/speech-to-text.yaml"
SPEECH_PAGE = ROOT / "docs/speech.md"
SPEECH_TASKS = ["speech-to-text", "speech-ctc"]
SPEECH_SMALL = [
    "options.also_under=[]",
    "audit.accept={few-rows: drawn, near-audio-leak: drawn, noisy: drawn, narrow-band: drawn, speaking-rate: drawn}",
]
RETRIEVAL = "recipes/retrieval.yaml"
GENERATION = "recipes/text-to-image.yaml"
GENERATION_SMALL = ["options.steps=2", "options.samples={rows: 1}", "data.limit=6"]
ROWS = 96
OPTIONS = find_task("text-classification").Options


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


ALL_COMMANDS = list(dict.fromkeys(tuple(words) for page in GUIDES for words in commands(page)))


# Links and names


def slug(heading: str) -> str:
    """A heading's anchor, as the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


def test_the_pictures_are_small_and_pictures() -> None:
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert [picture.name for picture in pictures] == ["report.png"]
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    assert 20_000 < pictures[0].stat().st_size < 400_000


def options_of(page: Path, key: str) -> Any:
    """The options that a page talks of: its task's; of a page about several, the first that have the setting."""
    every_kind = ["causal-lm", *PICTURE_TASKS, *SPEECH_TASKS, "text-to-image"]
    tasks = {"language-models.md": ["causal-lm"], "pictures.md": PICTURE_TASKS, "speech.md": SPEECH_TASKS}
    tasks |= {"image-generation.md": ["text-to-image"], "retrieval.md": ["retrieval", "causal-lm"]}
    tasks |= dict.fromkeys(("CHANGELOG.md", "decisions.md", "audit.md"), every_kind)
    of_page = [find_task(name).Options for name in tasks.get(page.name, [])]
    name = key.split(".")[1] if "." in key else ""
    return next((options for options in of_page if name in options.model_fields), OPTIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    named = re.findall(r"`([a-z_]+(?:\.[a-z0-9_]+)+)(?:: [^`]*|=[^`]*)?`", text)
    for key in named:
        if key.split(".")[0] in Recipe.model_fields:
            explain(key, options_of(page, key))


def test_the_recipe_page_names_every_setting() -> None:
    text = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")
    missing = []
    for setting in every():
        section, _, rest = setting.key.partition(".")
        # What is known by its section's short form, or stands one level deeper, is told there.
        told = {"model.name", "adapter.kind", "stages.train.top"}
        if rest and setting.key not in told and f"`{section}.{rest}`" not in text:
            missing.append(setting.key)
        if not rest:
            assert f"| `{section}` |" in text
    assert missing == []


def option_rows(text: str) -> list[tuple[str, str]]:
    """Names and defaults of the options in the tables of a text."""
    return re.findall(r"^\| `options\.(\w+)` \| (.+?) \|", text, flags=re.M)


def below(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    found = re.search(rf"^#+ {heading}$(.*?)(?=^#|\Z)", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert found is not None, heading
    return found[1]


def said_default(default: Any) -> str:
    """A default as the tables write it; of augmentation its preset."""
    if isinstance(default, BaseModel) and not hasattr(default, "preset"):
        return "`{" + ", ".join(f"{name}: {value:g}" for name, value in default) + "}`"
    if hasattr(default, "preset"):
        assert not isinstance(default, AugmentSettings) or default == PRESETS[default.preset]
        default = default.preset
    elif isinstance(default, (bool, list)):
        default = json.dumps(default)
    return "from the data" if default is None else f"`{default}`"


@pytest.mark.parametrize(
    ("page", "task"),
    [
        ("text-classification", "text-classification"),
        ("language-models", "causal-lm"),
        ("image-generation", "text-to-image"),
        ("retrieval", "retrieval"),
    ],
)
def test_the_table_of_options_is_the_task(page: str, task: str) -> None:
    rows = dict(option_rows((ROOT / f"docs/{page}.md").read_text(encoding="utf-8")))
    options = find_task(task).Options
    assert list(rows) == list(options.model_fields)
    for name, field in options.model_fields.items():
        said = "none" if page != "text-classification" and field.default is None else said_default(field.default)
        assert rows[name] == said, name


@pytest.mark.parametrize(
    ("task", "page", "shared_by"),
    [*((task, PICTURE_PAGE, "Of all three") for task in PICTURE_TASKS),
     *((task, SPEECH_PAGE, "Of both") for task in SPEECH_TASKS)],
)  # fmt: skip
def test_the_tables_of_options_are_the_tasks(task: str, page: Path, shared_by: str) -> None:
    shared, own = (option_rows(below(page, heading)) for heading in (shared_by, f"Of {task}"))
    rows = dict(shared + own)
    fields = find_task(task).Options.model_fields
    assert len(rows) == len(shared) + len(own)
    assert set(rows) == set(fields)
    assert [name for name in fields if name in dict(own)] == [name for name, _ in own]
    assert rows == {name: said_default(fields[name].default) for name in rows}


def test_the_tables_of_augmentation_are_the_settings() -> None:
    text = below(PICTURE_PAGE, "4. Augmentation that says what it is for")
    named = re.findall(r"^\| `(\w+)` \|", text, flags=re.M)
    groups = [name for name, field in AugmentSettings.model_fields.items() if isinstance(field.default, Section)]
    assert named == [*PRESETS, *groups]


def test_the_tables_of_sound_augmentation_are_the_settings() -> None:
    from tunesmith.speech.augment import PRESETS as SOUNDS
    from tunesmith.speech.augment import AugmentSettings as SoundSettings

    named = re.findall(r"^\| `([\w-]+)` \|", below(SPEECH_PAGE, "4. Augmentation"), flags=re.M)
    groups = [name for name, field in SoundSettings.model_fields.items() if isinstance(field.default, Section)]
    assert named == [*SOUNDS, *groups]


def test_the_table_of_methods_is_the_task_class() -> None:
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?`) \| .+ \| (.+?) \|$", text, flags=re.M)
    names = {name: by for cell, by in cells for name in re.findall(r"`(\w+)[(`]", cell)}
    assert {name for name, by in names.items() if by == "required"} == set(Task.__abstractmethods__)
    assert all(hasattr(Task, name) for name in names)
    assert len(names) >= 15


def test_the_table_of_attributes_is_the_task() -> None:
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8").partition("What it may set")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", text, flags=re.M))
    task = find_task("text-classification")(OPTIONS(), Weights("none", Path(), "folder", None, None, ()))
    assert len(rows) >= 8
    assert {name for name, says in rows.items() if not says.startswith("given: ")} <= {*vars(Task), *vars(Traits)}
    assert {name for name, says in rows.items() if says.startswith("given: ")} <= set(vars(task))


# Recipes


def yaml_blocks() -> Iterator[tuple[str, int, str]]:
    for page in GUIDES:
        for number, block in enumerate(blocks(page, "yaml")):
            yield page.name, number, block


@pytest.mark.parametrize(("page", "number", "block"), list(yaml_blocks()))
def test_every_recipe_that_is_shown_is_one(page: str, number: int, block: str, tmp_path: Path) -> None:
    shown = yaml.safe_load(block)
    whole = {**yaml.safe_load((ROOT / DEMO).read_text(encoding="utf-8")), **shown}
    text = block if {"task", "model", "data"} <= set(shown) else yaml.safe_dump(whole, sort_keys=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    source = read_recipe(path)
    if source.recipe.task in task_names():
        resolve_options(source, find_task(source.recipe.task).Options)


def test_the_readme_shows_the_demo() -> None:
    shown = yaml.safe_load(blocks(ROOT / "README.md", "yaml")[0])
    demo = yaml.safe_load((ROOT / DEMO).read_text(encoding="utf-8"))
    assert {key: demo[key] for key in shown} == shown


# Commands


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what the commands need, with fewer rows, in which the demo's run is finished."""
    from tunesmith.tune import fine_tune

    try:
        locate("starter:minilm-l6")
        locate("starter:smollm2-135m")
        locate("starter:mobilenet-v2")
        locate("starter:whisper-base")
    except UserError as fault:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"{fault.what}: {fault.fix}")
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "examples/sentiment").mkdir(parents=True)
    lines = (ROOT / "examples/sentiment/sentiment.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "examples/sentiment/sentiment.csv").write_text("".join(lines[: ROWS + 1]), encoding="utf-8")
    place = folder / "examples/text-to-sql"
    shutil.copytree(ROOT / "examples/text-to-sql/databases", place / "databases")
    for name, count in LANGUAGE_ROWS.items():
        rows = (ROOT / f"examples/text-to-sql/{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (place / f"{name}.jsonl").write_text("".join(rows[:count]), encoding="utf-8")
    (folder / "examples/faq").mkdir()
    lines = (ROOT / "examples/faq/faq.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "examples/faq/faq.jsonl").write_text("".join(lines[:60]), encoding="utf-8")
    draw_pictures(folder)
    draw_sounds(folder)
    # A random pipeline in place of the one that a script trains.
    small_pipelines.clip_folder(small_pipelines.write(folder / "examples/emoji-diffusion", "sd") / "clip")
    shutil.copytree(ROOT / "examples/emoji-subject", folder / "examples/emoji-subject")
    prompts = folder / "examples/emoji-subject/prompts.jsonl"
    lines = prompts.read_text(encoding="utf-8").splitlines(keepends=True)
    prompts.write_text("".join([*lines[:6], *lines[-2:]]), encoding="utf-8")
    # Converted weights stay where they are: to convert them again would take longer than all the rest.
    starters = cache_folder("starter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
        (folder / "cache").mkdir()
        (folder / "cache/starter").symlink_to(starters)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(folder)
        fine_tune(DEMO, small(["train", DEMO])[2:])
        yield folder


def draw_pictures(folder: Path) -> None:
    """Drawn pictures in place of those that a script builds, and a few photos to predict."""
    spec = spec_from_file_location("pictures", ROOT / "tests/fixtures/pictures.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = sys.modules["pictures"] = module_from_spec(spec)
    spec.loader.exec_module(drawn)
    stamps = folder / "examples/pictures/stamps"
    drawn.image_folder(stamps / "train", per_class=8, size=64)
    drawn.image_folder(stamps / "eval", per_class=4, size=64, seed=1)
    (folder / "photos").mkdir()
    for picture in sorted((stamps / "eval").glob("*/*0.png")):
        with Image.open(picture) as opened:
            opened.save(folder / "photos" / f"{picture.stem}.jpg")


def draw_sounds(folder: Path) -> None:
    """Drawn speech in place of the prompts that a script fetches, and a few calls to transcribe."""
    for side, count, seed in (("train", 8, 0), ("eval", 4, 1)):
        sounds.audio_folder(folder / "examples/prompts" / side, count, name="metadata.jsonl", seed=seed)
    (folder / "calls").mkdir()
    sounds.spoken(folder / "calls/one.wav", "sun rain wind")


def small(words: list[str]) -> list[str]:
    """A command at small size: fewer epochs, smaller steps where a test of rates needs many."""
    if words[0] in ("train", "plan", "audit") and LANGUAGE in words:
        return [*words, *LANGUAGE_SMALL, "stages.0.epochs=1"]
    if words[0] == "diagnose":
        return [*words, "--limit", "3", "--max-tokens", "4", "--only", "as-is", "--only", "shuffled"]
    if RETRIEVAL in words:
        return [*words, "stages.0.epochs=1"]
    if words[0] == "audit" and SPEECH in words:
        # An encoder hears 30 seconds of every drawn word, most of them silence, to tell that the sides are alike.
        words = [*words, "--skip", "drift"]
    if words[0] in ("train", "plan", "audit") and SPEECH in words:
        return [*words, *SPEECH_SMALL, "stages.0.epochs=1"]
    if words[0] in ("train", "plan", "audit") and GENERATION in words:
        return [*words, *GENERATION_SMALL, "stages.0.epochs=1"]
    if words[0] in ("train", "plan", "audit") and PICTURES in words:
        return [*words, *PICTURES_SMALL, "stages.0.epochs=1", "stages.1.epochs=1"]
    if words[0] == "train":
        given = {word.partition("=")[0] for word in words}
        stages = range(len(yaml.safe_load((ROOT / DEMO).read_text(encoding="utf-8"))["stages"]))
        words = [*words, *(f"stages.{i}.epochs=1" for i in stages if f"stages.{i}.epochs" not in given)]
    return [*words, "batch.rows=8"] if words[0] == "find-lr" else words


def test_the_docs_show_every_command_that_a_person_needs_first() -> None:
    shown = {words[1] for words in ALL_COMMANDS if words[0] == "tunesmith"}
    first = {"train", "plan", "audit", "predict", "evaluate", "runs", "explain", "find-lr", "report", "schema"}
    assert first | {"export", "diagnose", "index", "retrieve", "sync"} <= shown


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_every_command_that_is_shown_works(
    words: tuple[str, ...], copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
        assert set(words[1:]) <= set(targets)
        return
    assert words[0] == "tunesmith"
    from tunesmith.cli import main

    monkeypatch.setattr("sys.argv", ["tunesmith", *small(list(words[1:]))])
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr()
    # Of three items hardly anything can be shown: that a diagnosis is inconclusive is its answer.
    wanted = (EXIT_DONE, Exit["inconclusive"]) if words[1] == "diagnose" else (EXIT_DONE,)
    assert done.value.code in wanted, said.out + said.err
    assert said.out
    if "--json" in words:
        json.loads(said.out)
    if "--out" in words:
        assert (copy / words[words.index("--out") + 1]).stat().st_size > 0


# Code


def test_the_task_in_the_guide_trains(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed as a package would be: a module and its metadata on the path."""
    from tunesmith.tune import fine_tune

    page = ROOT / "docs/tasks.md"
    place = copy / "installed"
    metadata = place / "text_score-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "text_score.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: text-score\nVersion: 1.0\n")
    entry = blocks(page, "toml")[0]
    name, target = re.findall(r'^([\w-]+) = "([\w:.]+)"$', entry, flags=re.M)[0]
    assert '[project.entry-points."tunesmith.tasks"]' in entry
    (metadata / "entry_points.txt").write_text(f"[tunesmith.tasks]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(place)
    recipe = copy / "score.yaml"
    recipe.write_text(blocks(page, "yaml")[0], encoding="utf-8")
    try:
        run = fine_tune(recipe, ["data.limit=64", "stages.0.epochs=1", "stages.1.epochs=1"])
    finally:
        sys.modules.pop("text_score", None)
    scores = run.read_json("scores.json")
    assert scores["metric"] == "mean_absolute_error"
    assert not scores["higher_is_better"]
    assert 0 < scores["tuned"] < 4
    promises = {receipt["promise"]: receipt["holds"] for receipt in run.read_json("receipts.json")}
    assert promises["the saved model reloads to the same outputs"]


# Scripts


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULT: dict[str, Any] = {
    "benchmark": "text_classification",
    "machine": "a machine, 2 threads",
    "versions": {"torch": "2.13.0"},
    "results": [
        {"case": "head", "ours": 12.345, "peer": 1234.5, "peer_name": "Trainer", "unit": "s", "ratio": 100, "goal": 8},
        {"case": "all", "ours": 1.0, "peer": None, "peer_name": "Trainer", "unit": "s", "ratio": None, "goal": 1.0},
    ],
}


SCORES: dict[str, Any] = {
    "metric": "execution_accuracy", "base_name": "2 examples in the prompt", "tuned": 0.75, "difference": 0.5,
    "interval": [0.4, 0.6], "verdict": "better", "rows": 200,
    "bases": {"zero-shot": 0.1, "2 examples in the prompt": 0.25},
    "stages": [{"name": "adapter", "score": 0.75}],
}  # fmt: skip


def test_numbers_are_written_between_the_marks_and_checked(tmp_path: Path) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results"
    (results / "recipes").mkdir(parents=True)
    (results / "text_classification.json").write_text(json.dumps(RESULT))
    (results / "recipes" / "text-to-sql.json").write_text(json.dumps(SCORES))
    readme.write_text(
        "before\n<!-- benchmark text_classification -->\nold\n<!-- /benchmark -->\nbetween\n"
        "<!-- recipe text-to-sql -->\n<!-- /recipe -->\nafter\n<!-- benchmark none -->\nold\n<!-- /benchmark -->\n"
    )
    script = str(ROOT / "scripts/readme_numbers.py")
    order = [sys.executable, script, "--results", str(results), "--readme", str(readme)]

    def call(*more: str) -> int:
        return subprocess.run([*order, *more], check=False, capture_output=True).returncode

    assert call("--check") == 1
    assert call() == 0
    assert call("--check") == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- benchmark text_classification -->\n|")
    assert text.endswith("<!-- benchmark none -->\n<!-- /benchmark -->\n")
    assert "| head | 12.3 | 1,234 (Trainer) | s | 100 | 8 |" in text
    assert "| all | 1 |  (Trainer) | s |  | 1 |" in text
    assert "a machine, 2 threads; torch 2.13.0" in text
    assert "| zero-shot | 0.1 |\n| 2 examples in the prompt | 0.25 |\n| tuned | 0.75 |" in text
    assert "200 rows, 95 % interval: +0.500 [+0.400, +0.600] against 2 examples in the prompt: better." in text
    assert "old" not in text
    shutil.rmtree(results)
    assert call() == 2


def test_the_readme_has_the_numbers_of_the_committed_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == script("readme_numbers").filled(readme), "run scripts/readme_numbers.py"


def test_a_picture_of_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    order = [sys.executable, str(ROOT / "scripts/picture_of_report.py"), str(tmp_path), str(tmp_path / "out.png")]
    done = subprocess.run(order, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: missing: ")
