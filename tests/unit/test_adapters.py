"""Adapters against peft (same numbers, same files), and what they promise about the model they sit on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import adapters
from tunesmith.model.lora import LoraLinear
from tunesmith.recipe.sections import AdapterSection

LORA = AdapterSection(r=4)
KINDS = {
    "lora": AdapterSection(r=4),
    "rslora": AdapterSection(r=4, alpha=3, rslora=True),
    "dora": AdapterSection(r=4, alpha=6, dora=True),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        attention_bias=True,
        initializer_range=0.1,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=3,
        initializer_range=0.1,
    )
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, initializer_range=0.1, bos_token_id=0, eos_token_id=1
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


MODELS = {"llama": llama, "bert": bert, "gpt2": gpt2}
PEFT_TARGETS = {"llama": "all-linear", "bert": ["query", "value", "dense"], "gpt2": ["c_attn", "c_fc"]}
TASKS = {"llama": "CAUSAL_LM", "bert": "SEQ_CLS", "gpt2": "CAUSAL_LM"}


def blocks(model: Any) -> list[nn.Module]:
    for path in ("model.layers", "bert.encoder.layer", "transformer.h"):
        try:
            return list(model.get_submodule(path))
        except AttributeError:
            continue
    raise AssertionError(type(model))


IDS = torch.arange(2, 26).reshape(3, 8)


def logits(model: Any) -> Tensor:
    return model(input_ids=IDS).logits


def shake(model: nn.Module) -> None:
    """Give every adapter parameter a value of its own, so that nothing is zero by chance."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapters.adapter_parameters(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def peer(name: str, settings: AdapterSection, ours: nn.Module | None = None, **more: Any) -> Any:
    """peft's adapter on the same model; with the values of ``ours``, where given."""
    config = peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha or 2 * settings.r,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        target_modules=PEFT_TARGETS[name]
        if ours is None
        else [n for n, m in ours.named_modules() if isinstance(m, LoraLinear)],
        task_type=TASKS[name],
        fan_in_fan_out=name == "gpt2",
        **more,
    )
    tuned = peft.get_peft_model(MODELS[name](), config).eval()
    if ours is not None:
        state = tuned.state_dict()
        with torch.no_grad():
            for key, value in adapters.adapter_parameters(ours).items():
                layer, _, part = key.rpartition(".")
                state[f"base_model.model.{layer}.{part}.default.weight"].copy_(value)
    return tuned


def tuned(name: str, settings: AdapterSection) -> nn.Module:
    model = MODELS[name]()
    adapters.attach(model, blocks(model), settings, seed=0)
    shake(model)
    return model


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    """Equal up to rounding, measured against the tensor's largest value."""
    assert found.dtype == expected.dtype
    found, expected = found.detach(), expected.detach()
    assert float((found - expected).abs().max()) <= tolerance * max(1.0, float(expected.abs().max()))


def gradients(model: Any) -> dict[str, Tensor]:
    weights = torch.randn(logits(model).shape, generator=torch.Generator().manual_seed(2))
    (logits(model) * weights).sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and "lora_" in n}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_are_pefts(name: str, kind: str, dtype: torch.dtype, tolerance: float) -> None:
    ours = tuned(name, KINDS[kind])
    theirs = peer(name, KINDS[kind], ours).to(dtype)
    ours.to(dtype)
    assert (logits(ours) - logits(MODELS[name]())).abs().max() > 1e-3  # the adapters do something
    close(logits(ours), logits(theirs), tolerance)
    expected = {
        key.removeprefix("base_model.model.").replace(".default.weight", "").replace(".default", ""): value
        for key, value in gradients(theirs).items()
    }
    found = gradients(ours)
    assert found.keys() == expected.keys() == adapters.adapter_parameters(ours).keys()
    for key, value in found.items():
        close(value, expected[key], tolerance)


def test_the_frozen_layers_get_no_gradient_and_the_input_its_own() -> None:
    layer = LoraLinear(nn.Linear(5, 7), r=2, alpha=4)
    with torch.no_grad():
        layer.lora_B.normal_()
    x = torch.randn(2, 3, 5, requires_grad=True)
    dense = layer.weight + layer.scaling * (layer.lora_B @ layer.lora_A)
    torch.testing.assert_close(layer(x), x @ dense.t() + layer.bias)
    (layer(x) ** 2).sum().backward()
    expected = torch.autograd.grad(((x @ dense.t() + layer.bias) ** 2).sum(), [x, layer.lora_A, layer.lora_B])
    for found, wanted in zip([x.grad, layer.lora_A.grad, layer.lora_B.grad], expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_input_is_kept_for_the_backward_pass(dora: bool, dtype: torch.dtype) -> None:
    layer = LoraLinear(nn.Linear(64, 32, dtype=dtype), r=2, alpha=4, dora=dora)
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    x = torch.randn(100, 64, dtype=dtype, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        out = layer(x)
    low = 100 * 2 * x.element_size()
    direction = 100 * 32 * x.element_size() + 32 * (x.element_size() + 4)  # with DoRA, its factor and norm too
    assert sum(kept.values()) == x.nbytes + low + (direction if dora else 0)
    assert out.dtype == dtype


@pytest.mark.parametrize("dora", [False, True])
def test_a_frozen_adapter_lets_the_gradient_through(dora: bool) -> None:
    layer = LoraLinear(nn.Linear(5, 7), r=2, alpha=4, dora=dora)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(3, 5, requires_grad=True)
    layer(x).square().sum().backward()
    learning, x.grad = x.grad, None
    layer.zero_grad()
    layer.requires_grad_(False)
    layer(x).square().sum().backward()
    assert torch.equal(x.grad, learning)
    assert layer.lora_A.grad is None
    assert layer.lora_B.grad is None


@pytest.mark.parametrize("dora", [False, True])
def test_a_base_layer_that_learns_gets_its_gradient(dora: bool) -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(5, 7), r=2, alpha=4, dora=dora)
    with torch.no_grad():
        layer.lora_B.normal_()
    x = torch.randn(3, 5)
    frozen = layer(x)
    layer.base_layer.requires_grad_(True)
    torch.testing.assert_close(layer(x), frozen)
    layer(x).sum().backward()
    assert layer.base_layer.weight.grad.abs().max() > 0


def test_dora_norm_is_that_of_the_summed_weight() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(30, 20), r=4, alpha=8, dora=True)
    torch.testing.assert_close(layer._norm(), layer.lora_magnitude_vector.detach(), rtol=0, atol=0)
    with torch.no_grad():
        layer.lora_B.normal_()
        layer.base_layer.weight.add_(1)  # a reload of the base weights must be noticed
    dense = layer.weight + layer.scaling * (layer.lora_B @ layer.lora_A)
    torch.testing.assert_close(layer._norm(), dense.norm(dim=1).detach())


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_acts_on_the_update_alone_and_only_in_training(dora: bool) -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(6, 7), r=2, alpha=4, dropout=0.5, dora=dora)
    x = torch.randn(4, 6, requires_grad=True)
    with torch.no_grad():
        layer.lora_B.normal_()
    kept = torch.randint(0, 2, (4, 6)) * 2.0
    layer.lora_dropout.forward = lambda source: source * kept  # type: ignore[method-assign]
    direction = x @ layer.weight.t() + layer.scaling * ((x * kept) @ layer.lora_A.t() @ layer.lora_B.t())
    factor = layer.lora_magnitude_vector / layer._norm() if dora else 1.0
    torch.testing.assert_close(layer.train()(x), direction * factor + layer.bias)
    wanted = torch.autograd.grad((direction * factor).square().sum(), [x, layer.lora_A])
    found = torch.autograd.grad((layer(x) - layer.bias).square().sum(), [x, layer.lora_A])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    layer.eval()
    assert not torch.allclose(layer(x), direction * factor + layer.bias)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_peft_loads_what_we_save(name: str, kind: str, tmp_path: Path) -> None:
    model = tuned(name, KINDS[kind])
    if name == "bert":
        nn.init.normal_(model.get_parameter("classifier.weight"))
    adapters.save_adapter(model, tmp_path, base_name="some/model", task_type=TASKS[name])
    theirs = peft.PeftModel.from_pretrained(MODELS[name](), str(tmp_path)).eval()
    close(logits(theirs), logits(model))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/model"
    assert config["modules_to_save"] == (["classifier"] if name == "bert" else None)
    assert theirs.peft_config["default"].lora_alpha == (KINDS[kind].alpha or 8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_we_load_what_peft_saves(name: str, kind: str, tmp_path: Path) -> None:
    theirs = peer(name, KINDS[kind])
    torch.manual_seed(3)
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path)
    ours = MODELS[name]()
    layers = adapters.load_adapter(ours, tmp_path)
    assert set(layers) == {n for n, m in ours.named_modules() if isinstance(m, LoraLinear)}
    assert (logits(ours) - logits(MODELS[name]())).abs().max() > 1e-3
    close(logits(ours), logits(theirs))


def test_ranks_and_scales_that_differ_by_layer_survive(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj"],
        rank_pattern={"v_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 5},
        init_lora_weights=False,
    )
    theirs = peft.get_peft_model(llama(), config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = llama()
    adapters.load_adapter(ours, tmp_path / "theirs")
    close(logits(ours), logits(theirs))
    adapters.save_adapter(ours, tmp_path / "ours", base_name="x", task_type=None)
    again = peft.PeftModel.from_pretrained(llama(), str(tmp_path / "ours")).eval()
    close(logits(again), logits(ours))


def test_a_saved_adapter_loads_into_a_model_that_carries_one(tmp_path: Path) -> None:
    model = tuned("llama", LORA)
    adapters.save_adapter(model, tmp_path, base_name="x", task_type=None)
    fresh = llama()
    adapters.attach(fresh, blocks(fresh), LORA, seed=9)
    adapters.load_adapter(fresh, tmp_path)
    assert torch.equal(logits(fresh), logits(model))
    other = llama()
    adapters.attach(other, blocks(other), AdapterSection(r=4, alpha=1), seed=9)
    with pytest.raises(UserError, match="alpha"):
        adapters.load_adapter(other, tmp_path)
    other = llama()
    adapters.attach(other, blocks(other)[1:], LORA, seed=9)
    with pytest.raises(UserError, match=r"other layers.*layers\.0"):
        adapters.load_adapter(other, tmp_path)


def test_short_target_names_only_where_they_mean_the_same_layers(tmp_path: Path) -> None:
    def saved(model: nn.Module, chosen: list[nn.Module], targets: list[str]) -> list[str]:
        adapters.attach(model, chosen, AdapterSection(targets=targets), seed=0)
        adapters.save_adapter(model, tmp_path, base_name="x", task_type=None)
        return json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]

    model = llama()
    assert saved(model, blocks(model), ["v_proj", "q_proj"]) == ["q_proj", "v_proj"]
    model = llama()
    assert saved(model, blocks(model)[1:], ["q_proj"]) == ["model.layers.1.self_attn.q_proj"]
    model = bert()  # BERT's pooler, outside the blocks, is called dense too
    assert len(saved(model, blocks(model), ["dense"])) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_merging_keeps_the_outputs_and_leaves_no_trace(name: str, kind: str) -> None:
    model = tuned(name, KINDS[kind])
    before = logits(model)
    assert adapters.merge(model) == 0.0
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    assert model.state_dict().keys() == MODELS[name]().state_dict().keys()
    assert [type(m) for m in model.modules()] == [type(m) for m in MODELS[name]().modules()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bf16_base_keeps_fp32_masters(kind: str) -> None:
    exact = tuned("llama", KINDS[kind])
    model = llama().to(torch.bfloat16)
    adapters.attach(model, blocks(model), KINDS[kind], seed=0)
    shake(model)
    assert {p.dtype for p in adapters.adapter_parameters(model).values()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16
    torch.testing.assert_close(logits(model).float(), logits(exact), rtol=0.1, atol=0.05)
    assert {g.dtype for g in gradients(model).values()} == {torch.float32}
    largest = max(float(m.merged_weight().abs().max()) for m in model.modules() if isinstance(m, LoraLinear))
    before = logits(model).float()
    rounding = adapters.merge(model)
    assert 0 < rounding <= largest * 2**-8
    torch.testing.assert_close(logits(model).float(), before, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_computes_in_its_dtype(kind: str) -> None:
    model = tuned("llama", KINDS[kind])
    layer = next(m for m in model.modules() if isinstance(m, LoraLinear))
    x = torch.randn(2, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
        loss = (logits(model).float() ** 2).sum()
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and "lora_" in n}
    assert found.keys() == adapters.adapter_parameters(model).keys()
    model.zero_grad()
    (logits(model) ** 2).sum().backward()
    for key, value in adapters.adapter_parameters(model).items():
        assert (found[key] - value.grad).norm() < 0.1 * value.grad.norm(), key


@pytest.mark.parametrize("kind", KINDS)
def test_disabled_gives_exactly_the_base(kind: str) -> None:
    model = tuned("bert", KINDS[kind])
    with_adapters = logits(model)
    with adapters.disabled(model):
        assert torch.equal(logits(model), logits(bert()))
    assert torch.equal(logits(model), with_adapters)
    with pytest.raises(RuntimeError, match="inside"), adapters.disabled(model):
        raise RuntimeError("inside")
    assert torch.equal(logits(model), with_adapters)
    adapters.detach(model)
    assert torch.equal(logits(model), logits(bert()))
    assert not adapters.adapter_parameters(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_adapter_changes_nothing(kind: str) -> None:
    for name, make in MODELS.items():
        model = make()
        adapters.attach(model, blocks(model), KINDS[kind], seed=0)
        torch.testing.assert_close(logits(model), logits(make()), rtol=1e-6, atol=1e-6, msg=name)


def test_only_the_named_layers_of_the_given_blocks_are_touched() -> None:
    model = llama()
    layers = adapters.attach(model, blocks(model)[1:], AdapterSection(targets=["mlp.up_proj", "q_proj"]), seed=0)
    assert layers == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.up_proj"]
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        "model.layers.1.self_attn.q_proj.base_layer.weight",
        "model.layers.1.self_attn.q_proj.base_layer.bias",
        "model.layers.1.mlp.up_proj.base_layer.weight",
    }
    learns = adapters.adapter_parameters(model)
    assert set(learns) == {f"{layer}.{part}" for layer in layers for part in ("lora_A", "lora_B")}
    named = dict(model.named_parameters())
    assert all(named[key] is parameter for key, parameter in learns.items())
    with pytest.raises(ValueError, match="already"):
        adapters.attach(model, blocks(model), LORA, seed=0)


def test_tied_embeddings_stay_tied_and_unadapted() -> None:
    model: Any = llama()
    adapters.attach(model, blocks(model), LORA, seed=0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert isinstance(model.lm_head, nn.Linear)
    assert model.lm_head.weight.requires_grad


def test_the_start_depends_on_the_seed_and_the_name_alone() -> None:
    def start(chosen: slice, seed: int) -> dict[str, Tensor]:
        model = llama()
        torch.manual_seed(seed + 100)
        adapters.attach(model, blocks(model)[chosen], LORA, seed=seed)
        return {key: value.detach().clone() for key, value in adapters.adapter_parameters(model).items()}

    everywhere, top, other = start(slice(None), 1), start(slice(1, None), 1), start(slice(None), 2)
    assert len(top) < len(everywhere)
    assert all(torch.equal(value, everywhere[key]) for key, value in top.items())
    a = "model.layers.0.self_attn.q_proj.lora_A"
    assert not torch.equal(everywhere[a], other[a])
    assert not torch.equal(everywhere[a], everywhere["model.layers.1.self_attn.q_proj.lora_A"])
    assert everywhere[a].abs().max() <= 16**-0.5
    assert everywhere[a].std() == pytest.approx(16**-0.5 / 3**0.5, rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(kind: str, reentrant: bool) -> None:
    plain = gradients(tuned("llama", KINDS[kind]).train())
    model: Any = tuned("llama", KINDS[kind]).train()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    found = gradients(model)
    assert found.keys() == plain.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, plain[key], rtol=0, atol=0)


@pytest.mark.parametrize("dora", [False, True])
def test_a_layer_without_numbers_has_shapes(dora: bool) -> None:
    layer = LoraLinear(nn.Linear(5, 7, device="meta"), r=2, alpha=4, dora=dora)
    out = layer(torch.empty(3, 5, device="meta"))
    out.sum().backward()
    assert out.shape == (3, 7)
    assert layer.lora_A.grad.shape == (2, 5)
    with torch.inference_mode():
        assert LoraLinear(nn.Linear(5, 7), r=2, alpha=4, dora=dora)(torch.zeros(0, 5)).shape == (0, 7)


# torch's own tracer instantiates the class that it warns about.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("dora", [False, True])
def test_compiled_numbers_are_the_same(dora: bool) -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(8, 6), r=2, alpha=4, dora=dora)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(3, 8)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    for one in (layer, compiled):
        one(x).square().sum().backward()
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(compiled.lora_A.grad, layer.lora_A.grad)
    torch.testing.assert_close(compiled.lora_B.grad, layer.lora_B.grad)


def test_a_copied_model_has_adapters_of_its_own() -> None:
    model = tuned("llama", KINDS["dora"])
    before = logits(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in adapters.adapter_parameters(other).values():
            parameter.zero_()
    assert torch.equal(logits(model), before)


def test_a_layer_that_two_parents_hold_is_adapted_once() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(4, 4))
            self.second = nn.Sequential(self.first[0])

    model = Pair()
    assert adapters.attach(model, [model], LORA, seed=0) == ["first.0"]
    assert model.first[0] is model.second[0]
    assert isinstance(model.second[0], LoraLinear)
    adapters.merge(model)
    assert model.first[0] is model.second[0]
    assert isinstance(model.second[0], nn.Linear)


@pytest.mark.parametrize(
    ("targets", "what", "fix"),
    [
        (["q_prj"], "'q_prj'", "did you mean 'q_proj'"),
        (["q_proj", "embed_tokens"], "is of class Embedding", "q_proj"),
        (["lm_head"], "'lm_head' is outside the blocks", "q_proj"),
        (["layers.1.self_attn.q_prj"], "'layers.1.self_attn.q_prj'", "did you mean 'model.layers.1.self_attn.q_proj'"),
        ("all-liner", "'all-liner'", "did you mean 'all-linear'"),
        ([], "empty", "all-linear"),
        (["proj"], "'proj'", "did you mean"),
    ],
)
def test_a_name_that_matches_nothing_says_which_do(targets: str | list[str], what: str, fix: str) -> None:
    model = llama()
    with pytest.raises(UserError) as caught:
        adapters.attach(model, blocks(model), AdapterSection(targets=targets), seed=0)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert not adapters.adapter_parameters(model)


def test_layers_where_an_adapter_would_be_overlooked_are_refused() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 8)
    with pytest.raises(UserError, match="overlooked"):
        adapters.attach(model, [model], LORA, seed=0)
    shared = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4, bias=False))
    shared[1].weight = shared[0].weight
    with pytest.raises(UserError, match="shares its weight"):
        adapters.attach(shared, [shared[1]], LORA, seed=0)
    with pytest.raises(UserError, match="no linear layers"):
        adapters.attach(shared, [shared[0]], LORA, seed=0)


def test_a_layer_of_a_class_we_cannot_read_is_called_and_not_merged() -> None:
    class Packed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    model = nn.Sequential(Packed(4, 3))
    adapters.attach(model, [model], LORA, seed=0)
    shake(model)
    x = torch.randn(2, 4)
    layer: Any = model[0]
    torch.testing.assert_close(model(x), layer.base_layer(x) + layer.scaling * x @ (layer.lora_B @ layer.lora_A).t())
    with pytest.raises(UserError, match="Packed"):
        adapters.merge(model)
    assert model[0] is layer
    with pytest.raises(UserError, match="Packed"):
        adapters.attach(nn.Sequential(model[0].base_layer), [model[0].base_layer], KINDS["dora"], seed=0)


def broken(folder: Path, **config: Any) -> Path:
    model = tuned("bert", LORA)
    adapters.save_adapter(model, folder, base_name="x", task_type="SEQ_CLS")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"peft_type": "IA3"}, "kind IA3"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"use_dora": True}, "lora_magnitude_vector"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(config: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=what):
        adapters.load_adapter(bert(), broken(tmp_path, **config))


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        adapters.load_adapter(bert(), tmp_path)
    folder = broken(tmp_path)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="broken"):
        adapters.load_adapter(bert(), folder)
    weights.unlink()
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors"):
        adapters.load_adapter(bert(), folder)
    (folder / "adapter_config.json").write_text("{")
    weights.write_bytes(whole)
    with pytest.raises(UserError, match="JSON"):
        adapters.load_adapter(bert(), folder)


def test_an_adapter_of_another_model_is_refused_before_anything_changes(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    model = llama()
    with pytest.raises(UserError, match="no linear layer"):
        adapters.load_adapter(model, folder)
    small = bert()
    before = copy.deepcopy(small.state_dict())
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.classifier.weight"
    save_file(tensors | {key: torch.zeros(5, 16)}, path)
    with pytest.raises(UserError, match=r"classifier\.weight \(5, 16\)"):
        adapters.load_adapter(small, folder)
    last = sorted(k for k in tensors if k.endswith("lora_A.weight"))[-1]
    save_file(tensors | {last: torch.zeros(4, 99)}, path)
    with pytest.raises(UserError, match=r"\(4, 99\)"):
        adapters.load_adapter(small, folder)
    assert small.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


def test_a_module_to_save_that_does_not_exist_is_named(tmp_path: Path) -> None:
    model = tuned("bert", LORA)
    with pytest.raises(UserError, match="clasifier") as caught:
        adapters.save_adapter(model, tmp_path, base_name="x", task_type=None, modules_to_save=["clasifier"])
    assert "classifier" in caught.value.fix
    with pytest.raises(ValueError, match="no adapters"):
        adapters.save_adapter(bert(), tmp_path, base_name="x", task_type=None)


def test_a_trained_head_travels_with_the_adapter(tmp_path: Path) -> None:
    model = tuned("bert", LORA)
    nn.init.normal_(model.get_parameter("classifier.weight"))
    adapters.save_adapter(model, tmp_path, base_name="x", task_type=None, modules_to_save=["classifier"])
    again = bert()
    adapters.load_adapter(again, tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert not torch.equal(again.get_parameter("classifier.weight"), bert().get_parameter("classifier.weight"))
