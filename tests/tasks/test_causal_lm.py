"""Causal language modelling from rows to a saved model, at a small size of real architectures."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from tunesmith.check import check_task
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.language.rows import ConversationShape
from tunesmith.model.weights import resolve
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.tasks.causal_lm import CausalLM


def _fixture() -> Any:
    spec = spec_from_file_location("small_decoders", Path(__file__).parents[1] / "fixtures" / "small_decoders.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _fixture()
ADAPTER = ("adapter.kind=lora", "adapter.r=8", "stages=[{train: adapter, epochs: 4, lr: 2e-2}]")
ALL = ("stages=[{train: all, epochs: 30, lr: 1e-3}]",)


# peft's own affair, while it looks at a model.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def _receipts(run: Any) -> list[str]:
    found = json.loads((run.folder / "receipts.json").read_text(encoding="utf-8"))
    return [r["promise"] for r in found if not r["holds"] and r["promise"] != "memory was predicted"]


def test_all_weights_learn_the_form_of_the_answer(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", hidden_size=64, intermediate_size=128, num_attention_heads=4)
    run = small.tuned(tmp_path, model, small.conversations(96), *ALL)
    scores = run.read_json("scores.json")
    assert scores["metric"] == "exact_match"
    assert scores["base"] == 0.0
    assert scores["tuned"] > 0.9
    assert scores["all"]["tuned"]["stop_rate"] == 1.0
    assert scores["all"]["tuned"]["perplexity"] < 1.5 < scores["all"]["base"]["perplexity"]
    assert _receipts(run) == []
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.model)
    plain = AutoModelForCausalLM.from_pretrained(run.model)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "what colour is snow? (1)"}],
        add_generation_prompt=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    out = plain.generate(**inputs, max_new_tokens=40, do_sample=False)[0][inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True) == "colour = white"
    assert int(out[-1]) == tokenizer.eos_token_id


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "falcon", "phi", "gpt2"])
def test_every_family_from_rows_to_an_adapter_that_peft_loads(tmp_path: Path, family: str) -> None:
    model = small.write_decoder(tmp_path / "model", family)
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER)
    assert _receipts(run) == []
    events, _ = run.read_events()
    losses = [event["loss"] for event in events if event["kind"] == "step"]
    assert losses[-1] < losses[0]
    from safetensors.torch import load_file

    # Untied output layers are pretrained: an adapter leaves them alone.
    assert all(".lora_" in name for name in load_file(run.model / "adapter_model.safetensors"))
    learning = {g["group"] for g in run.read_json("plan.json")["stages"][0]["groups"] if g["trains"]}
    assert learning == {"adapter"}
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ours_task = load_task(run)
    ours = load_model(run, ours_task).eval()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), run.model).eval()
    ids = torch.arange(4, 30)[None]
    with torch.no_grad():
        assert torch.allclose(ours(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=1e-5)


def test_the_contract_holds(tmp_path: Path) -> None:
    source = resolve(ModelSection(name=str(small.write_decoder(tmp_path / "model", num_hidden_layers=3))))
    rows = read_rows(small.conversations(12), shape=ConversationShape("conversation"))
    report = check_task(CausalLM, list(rows), source=source, options={"max_new_tokens": 8})
    report.raise_failures()
    print(report)


# The pains of others


def test_a_pad_token_that_is_the_end_token_is_still_learned_and_ends_answers(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", pad=False, hidden_size=64, intermediate_size=128)
    run = small.tuned(tmp_path, model, small.conversations(96), *ALL)
    assert load_task(run).pad == load_task(run).tokenizer.eos_token_id
    assert run.read_json("scores.json")["all"]["tuned"]["stop_rate"] == 1.0


def test_answers_that_would_be_cut_away_are_an_error_unless_accepted(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    rows = small.conversations(48)
    rows[5]["messages"][0]["content"] += " and so on" * 40
    with pytest.raises(UserError, match="lose their whole answer at 64 tokens") as fault:
        small.tuned(tmp_path, model, rows, *ADAPTER, "options.max_length=64")
    assert "row-5" in fault.value.where
    accepted = "audit.accept={few-rows: a test, leak: a test, answer-cut: known}"
    run = small.tuned(tmp_path, model, rows, *ADAPTER, "options.max_length=64", accepted)
    found = {f["code"]: f for f in run.read_json("audit.json")["findings"]}
    assert found["truncated"]["what"].startswith("1 rows are longer than 64 tokens")
    assert "accepted: known" in found["answer-cut"]["what"]


def test_rows_that_teach_nothing_are_named(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    rows = small.conversations(48)
    rows[7]["messages"][1]["weight"] = 0
    with pytest.raises(UserError, match="no assistant message to learn: all have weight 0") as fault:
        small.tuned(tmp_path, model, rows, *ADAPTER)
    assert "row 8" in fault.value.where
    rows = small.conversations(48)
    more = [{"role": "user", "content": "and why?"}, {"role": "assistant", "content": "who knows", "weight": 0}]
    rows[7]["messages"] += more
    with pytest.raises(UserError, match="1 rows hold nothing that is learned") as fault:
        small.tuned(tmp_path, model, rows, *ADAPTER, "options.learn=last")
    assert "row-7" in fault.value.where


def test_prompts_that_drown_the_answers_are_refused(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", max_position_embeddings=8192, longest=8192)
    rows = [
        {"id": str(i), "messages": [
            {"role": "user", "content": f"{i} " + "the quick brown fox " * 300}, {"role": "assistant", "content": "a"},
        ]} for i in range(48)
    ]  # fmt: skip
    with pytest.raises(UserError, match="tokens are learned"):
        small.tuned(tmp_path, model, rows, *ADAPTER, "options.max_length=8000")


def test_rows_of_no_shape_are_listed_with_their_lines(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"messages": row["messages"]}) for row in small.conversations(40)]
    lines[3], lines[20] = json.dumps({"title": "x"}), json.dumps({"messages": [{"role": "bot", "content": "x"}]})
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="2 of 40 rows are broken") as fault:
        small.tuned(tmp_path, model, None, *ADAPTER, f"data.train={file}")
    assert f"{file}:4" in str(fault.value)
    run = small.tuned(tmp_path, model, None, *ADAPTER, f"data.train={file}", "data.broken_rows=0.1")
    assert "scores.json" in {f.name for f in run.folder.iterdir()}


@pytest.mark.parametrize("tied", [True, False])
def test_a_merged_adapter_is_a_plain_model_that_says_the_same(tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForCausalLM

    from tunesmith.export import merge_adapter

    model = small.write_decoder(tmp_path / "model", tie_word_embeddings=tied)
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER)
    made = merge_adapter(run, tmp_path / "whole", dtype="fp32")
    assert made.difference < 1e-4
    assert made.reload < 1e-5
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied
    ours = load_model(run, load_task(run)).eval()
    ids = torch.arange(4, 30)[None]
    with torch.no_grad():
        assert torch.allclose(ours(input_ids=ids).logits, merged(input_ids=ids).logits, atol=1e-4)
    half = merge_adapter(run, tmp_path / "half", dtype="bf16")
    assert 0 < half.rounding < 0.01
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16
    with pytest.raises(UserError, match="something is there"):
        merge_adapter(run, tmp_path / "half")


def test_the_cache_below_an_adapter_on_the_top_gives_the_same_losses(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", num_hidden_layers=4)
    top = (*ADAPTER, "adapter.top=1")
    losses, decisions = [], []
    for use in ("on", "off"):
        run = small.tuned(tmp_path / use, model, small.conversations(64), *top, f"cache.use={use}")
        events, _ = run.read_events()
        losses.append([e["loss"] for e in events if e["kind"] == "step"])
        decisions += [e for e in events if e["kind"] == "cache"]
        assert _receipts(run) == []
    assert decisions[0]["use"]
    assert "3 of 4 blocks" in decisions[0]["reason"]
    assert decisions[0]["parked_bytes"] > 0
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_only_the_rows_of_new_tokens_learn_and_are_stored(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = small.write_decoder(tmp_path / "model", tie_word_embeddings=True)
    rows = small.conversations(64)
    for row in rows:
        row["messages"][1]["content"] = row["messages"][1]["content"].replace("colour = ", "<colour>")
    run = small.tuned(tmp_path, model, rows, *ADAPTER, "options.new_tokens=[<colour>]")
    assert _receipts(run) == []
    task = load_task(run)
    ids = task.tokenizer("<colour>", add_special_tokens=False)["input_ids"]
    assert len(ids) == 1
    stored = load_file(run.model / "adapter_model.safetensors")
    [vectors] = [v for k, v in stored.items() if "trainable_tokens" in k]
    assert vectors.shape[0] == 1
    assert sum(v.numel() for k, v in stored.items() if "lora" not in k) == vectors.numel()
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model)
    base.resize_token_embeddings(len(task.tokenizer), mean_resizing=False)
    theirs = PeftModel.from_pretrained(base, run.model).eval()
    ours = load_model(run, task).eval()
    text = torch.tensor([[*range(4, 20), *ids, 9]])
    with torch.no_grad():
        assert torch.allclose(ours(input_ids=text).logits, theirs(input_ids=text).logits, atol=1e-5)


def test_what_was_forgotten_is_measured(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"once upon a time there was {i}"}) + "\n" for i in range(8)))
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER, f"options.forgetting={texts}")
    probe = run.read_json("scores.json")["probes"]["forgetting"]
    assert probe["rows"] == 8
    assert probe["metric"] == "perplexity"
    assert probe["base"] > 1
    low, high = probe["interval"]
    assert low <= probe["difference"] <= high


def test_a_model_answers_a_talk_that_goes_on(tmp_path: Path) -> None:
    from tunesmith.predict import predict, talk

    model = small.write_decoder(tmp_path / "model", hidden_size=64, intermediate_size=128)
    run = small.tuned(tmp_path, model, small.conversations(96), *ALL)
    lines = iter(["what colour is snow? (1)", "", "tell me the colour of mud (2)", None])
    heard: list[str] = []
    talk(run, (), listen=lambda: next(lines), say=heard.append)
    assert len(heard) == 2
    assert heard[0] == "colour = white"
    found = predict(run, ["what colour is snow? (1)"])
    assert found[0]["prediction"]["answer"] == "colour = white"


def test_the_commands_talk_merge_and_show_what_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from io import StringIO

    from tunesmith.cli import main

    model = small.write_decoder(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in small.conversations(48)), encoding="utf-8")
    run = small.tuned(tmp_path, model, None, *ADAPTER, f"data.train={rows}")

    def call(*words: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tunesmith", *map(str, words)])
        monkeypatch.setattr("sys.stdin", StringIO(typed))
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    code, out, _ = call("predict", str(run.folder), "--chat", typed="what colour is snow? (1)\nand mud?\n")
    assert code == 0
    assert len(out.splitlines()) >= 2
    code, out, _ = call("predict", str(run.folder), "what colour is snow? (1)", "--json")
    assert code == 0
    assert set(json.loads(out)[0]["prediction"]) >= {"answer", "ended", "tokens"}
    code, _, err = call("predict", str(run.folder), "--chat", "--json")
    assert code == 2
    assert "prints no JSON" in err
    code, _, err = call("predict", str(run.folder))
    assert code == 2
    assert "there is no INPUT" in err
    code, out, _ = call("export", str(run.folder), "--out", str(tmp_path / "whole"), "--dtype", "fp32")
    assert code == 0
    assert "merged against beside its base" in out
    code, _, err = call("export", str(run.folder), "--out", str(tmp_path / "other"), "--dtype", "fp8")
    assert code == 2
    assert "there is no such type" in err
    recipe = str(tmp_path / "recipe.yaml")
    code, out, _ = call("audit", recipe, f"data.train={rows}")
    assert code == 0
    assert "«colour = " in out
    assert "<|im_end|>»" in out
    shown = json.loads(call("audit", recipe, f"data.train={rows}", "--json")[1])["previews"]
    assert any(learned for _, learned in shown[0]["spans"])


def test_a_model_that_does_not_talk_says_so(tmp_path: Path) -> None:
    from tunesmith.predict import talk

    run = small.tuned(tmp_path, small.write_decoder(tmp_path / "model"), small.pairs(), *ADAPTER, task="preference")
    with pytest.raises(UserError, match="does not talk"):
        talk(run, (), listen=lambda: None, say=print)


def test_training_the_head_of_a_model_without_one_is_an_error(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    with pytest.raises(UserError, match="has no head to train") as fault:
        small.tuned(tmp_path, model, small.conversations(48), "stages=[{train: head, epochs: 1}]")
    assert "top" in fault.value.fix


def test_a_recipe_without_stages_gets_an_adapter_and_null_means_none(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", num_hidden_layers=3)
    run = small.tuned(tmp_path / "a", model, small.conversations(48))
    values = run.read_json("recipe.json")
    assert values["values"]["adapter"]["r"] == 16
    assert values["origins"]["adapter.r"] == "auto"
    assert (run.model / "adapter_config.json").exists()
    plain = small.tuned(tmp_path / "b", model, small.conversations(48), "adapter=null")
    assert not (plain.model / "adapter_config.json").exists()
    assert [s["name"] for s in plain.read_json("scores.json")["stages"]] == ["top 1"]


def test_weights_that_learn_are_never_held_in_few_bits(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    with pytest.raises(UserError, match="what learns is held in fp32"):
        small.tuned(tmp_path, model, small.conversations(48), *ALL, "model.dtype=bf16")


def test_raw_text_is_judged_by_its_perplexity_alone(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    rows = [{"id": str(i), "text": f"once upon a time there was a number {i}, and it was {i + 1}"} for i in range(60)]
    with pytest.raises(UserError, match="rows are raw text") as fault:
        small.tuned(tmp_path / "a", model, rows, *ADAPTER)
    assert "perplexity" in fault.value.fix
    run = small.tuned(tmp_path / "b", model, rows, *ADAPTER, "options.metric=perplexity", "options.learn=all")
    scores = run.read_json("scores.json")
    assert scores["metric"] == "perplexity"
    assert not scores["higher_is_better"]
    assert scores["tuned"] < scores["base"]
    assert scores["verdict"] == "better"


def test_blocks_that_are_computed_again_give_the_same_losses(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    losses = []
    for name, again in (("plain", "false"), ("again", "true")):
        setting = f"engine.gradient_checkpointing={again}"
        run = small.tuned(tmp_path / name, model, small.conversations(48), *ADAPTER, setting)
        losses.append([e["loss"] for e in run.read_events()[0] if e["kind"] == "step"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    packing = [d for d in run.read_json("plan.json")["decisions"] if d["what"] == "packing"]
    assert packing[0]["value"] == "off"


def test_rows_of_one_id_are_judged_by_their_own_content(tmp_path: Path) -> None:
    from tunesmith.tasks.causal_lm import LanguageOptions

    task = CausalLM(LanguageOptions(), resolve(ModelSection(name=str(small.write_decoder(tmp_path / "model")))))
    rows = [{"id": "1", "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in (("is it?", "yes"), ("is it not?", "no"))]  # fmt: skip
    said = {"nats": 1.0, "learned": 1, "answer": "yes", "ended": True, "tokens": 1}
    assert [task.score([said], [row])["exact_match"] for row in rows] == [1.0, 0.0]


def test_tools_are_part_of_what_names_a_row_in_the_cache() -> None:
    from tunesmith.tasks.preference import Preference

    assert "tools" in CausalLM.key_columns.fget(object.__new__(CausalLM))  # type: ignore[attr-defined]
    assert "tools" in Preference.key_columns.fget(object.__new__(Preference))  # type: ignore[attr-defined]


def test_a_run_judged_by_perplexity_answers_a_person(tmp_path: Path) -> None:
    from tunesmith.predict import predict

    model = small.write_decoder(tmp_path / "model")
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER, "options.metric=perplexity")
    assert set(predict(run, ["what colour is snow?"])[0]["prediction"]) >= {"answer", "ended"}


@pytest.mark.parametrize("setting", ["adapter.rslora=true", "adapter.dora=true", "adapter.targets=[q_proj, v_proj]"])
def test_the_kinds_of_adapters_learn_and_reload(tmp_path: Path, setting: str) -> None:
    run = small.tuned(tmp_path, small.write_decoder(tmp_path / "model"), small.conversations(48), *ADAPTER, setting)
    assert _receipts(run) == []
    losses = [event["loss"] for event in run.read_events()[0] if event["kind"] == "step"]
    assert losses[-1] < losses[0]


def test_an_adapter_on_four_bit_weights_learns_reloads_and_merges_into_the_original(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from tunesmith.export import merge_adapter

    model = small.write_decoder(tmp_path / "model", hidden_size=64, intermediate_size=128)
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER, "model.dtype=nf4")
    assert run.read_json("plan.json")["held"] == "nf4"
    assert _receipts(run) == []
    losses = [event["loss"] for event in run.read_events()[0] if event["kind"] == "step"]
    assert losses[-1] < losses[0]
    made = merge_adapter(run, tmp_path / "whole", dtype="fp32")
    assert made.difference < 1e-3


def test_a_disk_that_takes_no_weights_leaves_them_in_memory_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.train.parking import Parked

    def full(_self: Any, _file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Parked, "_write", full)
    model = small.write_decoder(tmp_path / "model", num_hidden_layers=4)
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER, "adapter.top=1", "cache.use=on")
    events, _ = run.read_events()
    assert any("stay in memory" in e["text"] for e in events if e["kind"] == "warning")
    assert _receipts(run) == []
