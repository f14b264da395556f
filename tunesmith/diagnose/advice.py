"""What to do, ready to use: a recipe to train by, a prompt, a schema or the commands of an index, for each cure.

It writes no judgement: which cures are advised is the verdict's.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.diagnose.climbing import LEAST_GAIN
from tunesmith.diagnose.found import Evidence, Item, Probe, Verdict
from tunesmith.diagnose.items import conversation_of
from tunesmith.diagnose.ladder import Way, ways_of
from tunesmith.diagnose.pilot import RANK, RATE, ROWS_A_STEP, epochs_of
from tunesmith.diagnose.prompting import messages_of
from tunesmith.retrieval.files import INDEX_FILE

METRICS = {"sql": "sql", "call": "call", "json": "json", "words": "overlap"}
"""Metric of a recipe by how content is compared; the others are compared as texts."""
SHOTS_SHOWN = 4
DIAGNOSIS = "diagnosis.json"


@dataclass(frozen=True)
class Setup:
    """What was diagnosed, by the names under which it can be found again.

    Args:
        model: As it was named.
        larger: As it was named.
        documents: Folder or index, as it was named.
        train: Rows to learn from.
        content: How content is compared.
        folder: Where the advice's files go.
    """

    model: str
    larger: str = ""
    documents: str = ""
    train: Sequence[Item] = ()
    content: str = "exact"
    folder: str = "."


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Args:
        rung: Whose cure it is.
        title: In a few words.
        text: Why and how.
        commands: To type, in order.
        files: Name to content; `write_advice` writes them.
    """

    rung: str
    title: str
    text: str
    commands: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def advise(evidence: Evidence, verdict: Verdict, setup: Setup) -> tuple[Advice, ...]:
    """What to do for each cure of a verdict, in the order of the ladder; empty where none is advised."""
    makers: dict[str, Callable[[Evidence, Verdict, Setup], Advice]] = {
        "instructions": _instructions,
        "constraint": _constraint,
        "few-shot": _few_shot,
        "retrieval": _retrieval,
        "retriever": _retriever,
        "reader": _reader,
        "larger-model": _larger,
        "fine-tune": _fine_tune,
        "labels": _labels,
    }
    return tuple(makers[rung](evidence, verdict, setup) for rung in verdict.cures if rung in makers)


def write_advice(advice: Sequence[Advice], folder: Path) -> list[Path]:
    """Write the files of an advice into a folder, and return their paths.

    Raises:
        OSError: The folder can't be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in advice:
        for name, content in one.files.items():
            path = folder / name
            path.write_text(content, encoding="utf-8", errors="replace")
            written.append(path)
    return written


def remove_stale(folder: Path) -> None:
    """Remove the files that an earlier diagnosis in this folder advised, unless somebody has changed them.

    Raises:
        OSError: One can't be removed.
    """
    try:
        before = json.loads((folder / DIAGNOSIS).read_text(encoding="utf-8"))
        files = {name: content for one in before["advice"] for name, content in one["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return
    for name, content in files.items():
        path = folder / Path(name).name
        if path.is_file() and path.read_bytes() == str(content).encode("utf-8", "replace"):
            path.unlink()


def distractor_gap(evidence: Evidence) -> float | None:
    """Share of right content that distractors cost beside the gold passage; None where it was not measured."""
    gold, crowded = evidence.probes.get("gold"), evidence.probes.get("gold-and-distractors")
    if gold is None or crowded is None:
        return None
    both = [name for name in gold.judged if name in crowded.judged]
    if not both:
        return None
    return sum(int(gold.judged[name].content) - int(crowded.judged[name].content) for name in both) / len(both)


def _words_of(probe: Probe | None, name: str) -> str:
    return str(probe.extra.get(name) or "") if probe is not None else ""


def _instructions(evidence: Evidence, _verdict: Verdict, _setup: Setup) -> Advice:
    words = _words_of(evidence.probes.get("instructions"), "instructions")
    text = "Put these words at the end of the system message, or of the question."
    return Advice("instructions", "Say how the answer is to be written", text, files={"instructions.txt": words + "\n"})


def _constraint(evidence: Evidence, _verdict: Verdict, _setup: Setup) -> Advice:
    extra = evidence.probes["constrained"].extra
    kept = {name: extra[name] for name in ("schema", "choices") if extra.get(name)}
    name, value = next(iter(kept.items()), ("schema", {}))
    text = (
        "Hold the decoding to this: an endpoint takes a schema as response_format, and tunesmith's own models as "
        "Prompt(schema=...) or Prompt(choices=...). Say the form in the prompt, too, as the probe did."
    )
    content = json.dumps(value, ensure_ascii=False, indent=1, default=list) + "\n"
    return Advice("constraint", "Constrain the decoding", text, files={f"{name}.json": content})


def _few_shot(evidence: Evidence, verdict: Verdict, setup: Setup) -> Advice:
    probe = _probe_of("few-shot", evidence, verdict)
    count = int(probe.extra.get("shots", SHOTS_SHOWN)) if probe is not None else SHOTS_SHOWN
    nearest = probe is not None and bool(probe.extra.get("nearest"))
    rows = list(setup.train or evidence.items)[:count]
    messages = [message for row in rows for message in conversation_of(row)]
    how = (
        "those whose words are nearest to the question (BM25)"
        if nearest
        else "others were drawn for each question here; the same ones for all are cheaper, and were not measured"
    )
    text = f"Put {count} rows with their answers before each question: {how}. The file shows how."
    files = {"examples.json": json.dumps(messages, ensure_ascii=False, indent=1) + "\n"}
    return Advice("few-shot", f"Put {count} examples in the prompt", text, files=files)


def _probe_of(rung: str, evidence: Evidence, verdict: Verdict) -> Probe | None:
    """The probe that the effect was measured by, else the one that a rung counted by, else the best of its probes."""
    effect = verdict.effect
    if effect is not None and effect.rung == rung and effect.probe in evidence.probes:
        return evidence.probes[effect.probe]
    counted = next((test.probe for test in verdict.tests if test.rung == rung and test.counts), None)
    if counted is not None and counted in evidence.probes:
        return evidence.probes[counted]
    some: Sequence[Way] = ways_of(evidence).get(rung, ())
    best = max(some, key=lambda way: way.rate("right"), default=None)
    return evidence.probes.get(best.probe) if best is not None else None


def _index_commands(setup: Setup) -> tuple[str, ...]:
    documents = setup.documents or "DOCUMENTS"
    if (Path(documents) / INDEX_FILE).is_file():
        return (f'tunesmith ask {shlex.quote(documents)} "your question" --model {shlex.quote(setup.model)}',)
    index = shlex.quote(str(Path(setup.folder) / "index"))
    return (
        f"tunesmith index {shlex.quote(documents)} --into {index}",
        f'tunesmith ask {index} "your question" --model {shlex.quote(setup.model)}',
    )


def _retrieval(evidence: Evidence, _verdict: Verdict, setup: Setup) -> Advice:
    probe = evidence.probes.get("retrieved")
    k = int(probe.extra.get("k", 5)) if probe is not None else 5
    text = (
        f"Index the documents and put the {k} best passages before each question."
        if probe is not None
        else "Passages that hold the answer help; no search was tested. Index the documents, and diagnose with them."
    )
    return Advice("retrieval", "Bring passages by retrieval", text, _index_commands(setup))


def _retriever(evidence: Evidence, _verdict: Verdict, setup: Setup) -> Advice:
    recall = evidence.probes["retrieved"].extra.get("recall", {})
    held = f"{sum(recall.values())} of {len(recall)}" if recall else "too few"
    text = (
        f"The passages retrieved hold what is needed for {held} items, and the gold passage is enough. Try another "
        "encoder, fusion with BM25 or a reranker first; then tune the encoder on your questions (task: retrieval)."
    )
    index = _index_commands(setup)[:-1]
    pairs = [
        {"query": row.input, "positive": row.gold} for row in (*setup.train, *evidence.items) if row.gold and row.input
    ]
    files = {}
    if pairs:
        files["pairs.jsonl"] = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        file = Path(setup.folder) / "pairs.jsonl"
        files["retriever.yaml"] = (
            "# Tunes the encoder of the index; the pairs are questions with the passage that answers them.\n"
            f"task: retrieval\nmodel: starter:minilm-l6\ndata:\n  train: {json.dumps(str(file))}\n  eval: 0.2\n"
        )
    return Advice("retriever", "Mend the retriever", text, index, files)


def _reader(evidence: Evidence, _verdict: Verdict, setup: Setup) -> Advice:
    gap = distractor_gap(evidence)
    text = "The passages hold the answer and other passages mislead. Bring fewer (--k 1 or 2) or rerank them"
    if gap is None or gap < LEAST_GAIN:
        return Advice("reader", "Keep distractors away", text + ".", _index_commands(setup))
    text += (
        f"; distractors cost {gap * 100:.0f} points, so that training on questions with the gold passage among others "
        "(RAFT) is worth trying."
    )
    files = _raft(setup)
    train = (f"tunesmith train {shlex.quote(str(Path(setup.folder) / 'reader.yaml'))}",) if files else ()
    return Advice("reader", "Keep distractors away, or train with them", text, (*_index_commands(setup), *train), files)


def _raft(setup: Setup) -> dict[str, str]:
    """A recipe that teaches the model to answer from the right passage among others; none without rows that name it."""
    rows = [{"question": row.input, "answer": row.references[0], "gold": row.gold} for row in setup.train if row.gold]
    if not rows:
        return {}
    file = Path(setup.folder) / "passages.jsonl"
    recipe = (
        "# Teaches the model to answer from the right passage among others, and to quote it, as tunesmith ask wants.\n"
        f"task: causal-lm\nmodel: {json.dumps(setup.model)}\n"
        f"data:\n  train: {json.dumps(str(file))}\n  eval: 0.15\n"
        f"{_settings(len(rows))}"
        "options:\n  metric: overlap\n  grounded: {distractors: 4, without_gold: 0.2}\n"
    )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return {"passages.jsonl": lines, "reader.yaml": recipe}


def _settings(rows: int) -> str:
    """The pilot's, as YAML."""
    return (
        f"stages:\n  - {{train: adapter, epochs: {epochs_of(rows)}, lr: {RATE:g}}}\n"
        f"adapter: {{kind: lora, r: {RANK}}}\nbatch: {{rows: {ROWS_A_STEP}}}\n"
    )


def _larger(evidence: Evidence, _verdict: Verdict, setup: Setup) -> Advice:
    name = setup.larger or _words_of(evidence.probes.get("larger"), "of") or "the larger model"
    return Advice("larger-model", f"Take {name}", "It was asked with the form in words (instructions).")


def _fine_tune(evidence: Evidence, verdict: Verdict, setup: Setup) -> Advice:
    """A recipe on the rows; with passages in the prompts where the content comes from retrieval."""
    grounded = bool({"retrieval", "retriever", "reader"} & set(verdict.cures)) or bool(verdict.against_fine_tuning)
    rows = [row for row in setup.train if row.gold] if grounded else list(setup.train)
    rows = rows or list(setup.train)
    with_passages = grounded and any(row.gold for row in rows)
    lines = [{"id": str(number), "messages": _learned(row, passages=with_passages)} for number, row in enumerate(rows)]
    folder = Path(setup.folder)
    metric = METRICS.get(setup.content, "exact")
    recipe = (
        f"# Ready to train: tunesmith train {folder / 'recipe.yaml'}\n"
        f"task: causal-lm\nmodel: {json.dumps(setup.model)}\n"
        f"data:\n  train: {json.dumps(str(folder / 'train.jsonl'))}\n  eval: 0.15\n"
        f"{_settings(len(rows))}"
        f"options:\n  metric: {metric}\n"
    )
    text = "The pilot learned by the same settings."
    if with_passages:
        text += " Each row has its passage in the prompt, so that the model learns the form and not the facts."
    elif grounded:
        text += (
            " Its rows have no passages: add the column gold to them, so that the model learns to answer from passages."
        )
    files = {"recipe.yaml": recipe}
    if lines:
        files["train.jsonl"] = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    command = f"tunesmith train {shlex.quote(str(folder / 'recipe.yaml'))}"
    return Advice("fine-tune", "Fine-tune", text, (command,), files)


def _learned(row: Item, *, passages: bool) -> list[dict[str, object]]:
    asked = list(messages_of(row, passages=[row.gold] if passages and row.gold else ()))
    return [*asked, {"role": "assistant", "content": row.references[0]}]


def _labels(evidence: Evidence, _verdict: Verdict, _setup: Setup) -> Advice:
    lines = {item.id: item.line for item in evidence.items}
    rows = "".join(f"{lines.get(name, 0)}\t{name}\t{why}\n" for name, why in evidence.disagreement.items())
    text = "Decide which of the references are right, or list all that are as 'references'. The file names each row."
    return Advice("labels", "Mend the labels", text, files={"labels.tsv": "line\tid\twhy\n" + rows})
