"""What every file of the project keeps: loaded data runs no code, rooms say what they are, files are short."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tunesmith"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
FILE_LINES, FUNCTION_LINES = 400, 80

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
RUNS_SHELL = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}


def dangers(source: str) -> Iterator[str]:
    """Everything in a source text through which data that is loaded could run code, one line each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: import {a.name}" for a in node.names if a.name.split(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            # The name of an error can't load anything.
            loads = [alias.name for alias in node.names if not alias.name.endswith("Error")]
            yield from (f"{node.lineno}: from {node.module} import {name}" for name in loads)
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {danger}" for danger in call_dangers(node))


def call_dangers(call: ast.Call) -> Iterator[str]:
    """What is dangerous about one call."""
    name = ast.unparse(call.func)
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in RUNS_CODE | RUNS_SHELL | UNSAFE_YAML or name.startswith("os.spawn"):
        yield f"{name}(...)"
    if is_not(options.get("shell"), False):
        yield f"{name}(shell=...)"
    if name == "torch.load" and not is_constant(options.get("weights_only"), True):
        yield "torch.load(...) without weights_only=True"
    if name in {"numpy.load", "np.load"} and is_not(options.get("allow_pickle"), False):
        yield f"{name}(allow_pickle=...)"
    if is_constant(options.get("trust_remote_code"), True):
        yield f"{name}(trust_remote_code=True)"
    if "Environment" in name and name.startswith("jinja2.") and "Sandboxed" not in name:
        yield f"{name}: not the sandbox"


def is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def is_not(node: ast.expr | None, value: bool) -> bool:
    return node is not None and not is_constant(node, value)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from cloudpickle import *",
        "def f(x):\n    return eval(x)",
        "exec('1')",
        "import os\nos.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=flag)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "AutoModel.from_pretrained(n, trust_remote_code=True)",
        "jinja2.Environment()",
    ],
)
def test_the_search_finds_each_way_to_run_code(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "from pickle import UnpicklingError",
        "model.eval()",
        "torch.load(f, weights_only=True)",
        "subprocess.run(['ls'], shell=False)",
        "re.compile('a')",
        "yaml.safe_load(text)",
        "jinja2.sandbox.ImmutableSandboxedEnvironment()",
        "np.load(f, allow_pickle=False)",
        "AutoModel.from_pretrained(n, trust_remote_code=False)",
        "# pickle, eval(x), shell=True",
    ],
)
def test_the_search_leaves_harmless_code_alone(source: str) -> None:
    assert not list(dangers(source))


def test_there_is_something_to_search() -> None:
    assert {"tunesmith/errors.py", "tunesmith/types.py", "tunesmith/model/weights.py"} <= set(NAMES)


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_nothing_that_is_loaded_can_run_code(file: Path) -> None:
    assert list(dangers(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_module_says_what_room_it_is(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_files_and_functions_are_short_enough_to_see(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= FILE_LINES
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_names_are_the_words_of_the_field(file: Path) -> None:
    assert file.stem not in {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


@pytest.mark.parametrize(
    "statement",
    ["import tunesmith", "import tunesmith.recipe", "import tunesmith.errors, tunesmith.types, tunesmith.run"],
)
def test_light_modules_import_no_torch(statement: str) -> None:
    heavy = "[m for m in ('torch', 'transformers', 'accelerate', 'peft', 'datasets', 'pyarrow') if m in sys.modules]"
    code = f"import sys; {statement}; sys.exit(' '.join({heavy}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_constraints_pin_everything_the_metadata_names() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*metadata["dependencies"], *(r for extra in metadata["optional-dependencies"].values() for r in extra)]
    named = {normal(requirement) for requirement in wanted} - {"tunesmith"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "+" not in line for line in pins)
    assert "torch==2.13.0" in pins
    assert named - {normal(line) for line in pins} == set()


def normal(requirement: str) -> str:
    """The bare distribution name of a requirement, as the index compares names."""
    name = requirement
    for mark in "[<>=!~;@ ":
        name = name.split(mark)[0]
    return name.lower().replace("_", "-").replace(".", "-")


def test_every_starter_stands_in_the_requirements() -> None:
    from tunesmith.model.starter import STARTERS

    lines = (ROOT / "requirements-starter.txt").read_text(encoding="utf-8").splitlines()
    pins = {line for line in lines if line and not line.startswith("#")}
    assert {package.requirement for starter in STARTERS.values() for package in starter.packages} == pins


def test_the_check_script_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False, capture_output=True).returncode == 0


def test_the_example_data_is_what_its_script_promises() -> None:
    import csv

    with (ROOT / "examples/sentiment/sentiment.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 3000
    assert {row["source"] for row in rows} == {"movie", "tweet", "product"}
    assert all((float(row["score"]) > 0) == (row["label"] == "positive") for row in rows)
    assert all(5 <= len(row["text"].split()) <= 60 and abs(float(row["score"])) >= 0.5 for row in rows)
    assert not [row["id"] for row in rows if "''" in row["text"] or "&amp;" in row["text"]]
    assert (ROOT / "examples/sentiment/sentiment.csv").stat().st_size < 500_000


def test_the_recipe_is_one_that_we_accept() -> None:
    import yaml

    from tunesmith.recipe.sections import Recipe

    recipe = Recipe.model_validate(yaml.safe_load((ROOT / "recipes/text-classification.yaml").read_text("utf-8")))
    assert (ROOT / recipe.data.train).is_file()
    assert recipe.stages is not None
    assert [stage.train if isinstance(stage.train, str) else stage.train.top for stage in recipe.stages] == ["head", 2]
