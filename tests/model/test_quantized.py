"""Weights in 4 bit: the numbers are bitsandbytes', the bytes stay what they are, the plan's bytes are the real ones."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import adapters, quantized
from tunesmith.model.four_bit import FourBitLinear, Layout, pack, unpack
from tunesmith.model.lora import LoraLinear
from tunesmith.model.memory import plan_memory, saved_bytes
from tunesmith.model.pretrained import load_config, load_model
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe.sections import AdapterSection, ModelSection
from tunesmith.train.caching import tensors_digest
from tunesmith.train.optim import optimizer_bytes

if find_spec("bitsandbytes") is None and os.environ.get("CI", "").lower() != "true":
    pytest.skip("bitsandbytes is not installed: pip install 'tunesmith[quantized]'", allow_module_level=True)


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()
LORA = AdapterSection(r=4)
SHAPES = [
    (64, 64),
    (16, 24),
    (16, 96),
    (48, 48),
    (10, 20),
    (7, 5),
    (33, 130),
    (192, 576),
    (1, 64),
    (64, 1),
    (1, 2),
    (2, 1),
    (1, 1),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
IDS = torch.arange(2, 26).reshape(3, 8)


def decoder(folder: Path, family: str = "llama", **changes: Any) -> Weights:
    """A decoder with random weights; no size of a layer is a multiple of the block's."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"initializer_range": 0.2} | changes
    AutoModelForCausalLM.from_config(families.config_of(family, **sizes)).save_pretrained(folder)
    return resolve(ModelSection(name=str(folder)))


def loaded(source: Weights, **settings: Any) -> Any:
    from transformers import AutoModelForCausalLM

    model, fresh = quantized.load_quantized(AutoModelForCausalLM, source, load_config(source), **settings)
    assert fresh == frozenset()
    return model


def four_bit_layers(model: nn.Module) -> dict[str, FourBitLinear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, FourBitLinear)}


def tuned(model: nn.Module, settings: AdapterSection = LORA) -> nn.Module:
    """An adapter on every layer in 4 bit, each parameter with a value of its own."""
    blocks = [m for n, m in model.named_modules() if n.rpartition(".")[2].isdecimal()]
    adapters.attach(model, blocks, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapters.adapter_parameters(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def logits(model: Any) -> Tensor:
    ids = IDS.to(model.device)
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


# One layer


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_are_those_of_bitsandbytes_whatever_the_shape(shape: tuple[int, int], double: bool) -> None:
    """Against arithmetic on what its quantizer made: its CPU kernel is wrong where rows are no multiple of 64."""
    from bitsandbytes.functional import get_4bit_type, quantize_4bit

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed, constants, layout = pack(weight, double=double)
    assert layout == Layout(*shape, 64, double)
    assert (packed.dtype, constants.dtype) == (torch.uint8, torch.uint8)
    assert (packed.numel(), constants.numel()) == (layout.packed_bytes, layout.constant_bytes)
    theirs, state = quantize_4bit(weight, blocksize=64, compress_statistics=double, quant_type="nf4")
    bytes_ = theirs.flatten()
    values = get_4bit_type("nf4", device="cpu")[torch.stack([bytes_ >> 4, bytes_ & 15], 1).flatten().long()]
    scales = state.absmax
    if double:
        groups = state.state2.absmax.repeat_interleave(256)[: len(scales)]
        scales = state.state2.code[scales.long()] * groups + state.offset
    expected = (values[: weight.numel()] * scales.repeat_interleave(64)[: weight.numel()]).reshape(shape)
    for dtype in DTYPES:
        found = unpack(packed, constants, layout, dtype)
        assert (found.shape, found.dtype) == (torch.Size(shape), dtype)
        torch.testing.assert_close(found, expected.to(dtype))
    # The widest gap between two values of nf4 is 0.304, so nothing is off by more than half of it times its scale.
    assert float((expected - weight).abs().max()) <= 0.16 * float(weight.abs().max())


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_product_and_gradients_are_those_of_the_unpacked_weight(
    dtype: torch.dtype, tolerance: float, double: bool
) -> None:
    torch.manual_seed(0)
    layer = FourBitLinear.of(nn.Linear(30, 17), compute=dtype, double=double)
    layer.bias.requires_grad_(True)
    x = torch.randn(2, 5, 30, dtype=dtype, requires_grad=True)
    out = layer(x)
    assert out.dtype == dtype
    weight, bias, inputs = layer.unpacked(torch.float32), layer.bias.float(), x.detach().float().requires_grad_(True)
    expected = inputs @ weight.t() + bias
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    out.square().sum().backward()
    wanted = torch.autograd.grad(expected.square().sum(), [inputs, bias])
    for found, value in zip((x.grad, layer.bias.grad), wanted, strict=True):
        assert found is not None
        torch.testing.assert_close(found.float(), value, rtol=10 * tolerance, atol=10 * tolerance)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.detach()).dtype == torch.bfloat16


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_computes_what_it_does_over_the_unpacked_weight(
    dtype: torch.dtype, double: bool, dropout: float
) -> None:
    torch.manual_seed(0)
    packed = FourBitLinear.of(nn.Linear(30, 17), compute=dtype, double=double)
    plain = nn.Linear(30, 17, dtype=dtype)
    plain.load_state_dict({"weight": packed.unpacked(dtype), "bias": packed.bias})
    results = []
    for base in (packed, plain):
        layer = LoraLinear(base, r=3, alpha=6, dropout=dropout, generator=torch.Generator().manual_seed(1)).train()
        nn.init.normal_(layer.lora_B, generator=torch.Generator().manual_seed(2))
        x = torch.randn(4, 5, 30, generator=torch.Generator().manual_seed(3)).to(dtype).requires_grad_(True)
        torch.manual_seed(4)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            out = layer(x)
        out.float().square().sum().backward()
        results.append((out, x.grad, layer.lora_A.grad, layer.lora_B.grad))
        merged = packed.unpacked(torch.float32) + layer.scaling * layer.lora_B @ layer.lora_A
        torch.testing.assert_close(layer.merged_weight(), merged, rtol=1e-2, atol=1e-3)
    for found, wanted in zip(*results, strict=True):
        # Under autocast the plain weight is rounded once more on its way from fp32.
        torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2 * float(wanted.detach().abs().max()))
        assert dtype == torch.float32 or torch.equal(found, wanted)


def test_an_adapter_over_bitsandbytes_own_layer_is_right_too() -> None:
    from bitsandbytes.nn import Linear4bit

    torch.manual_seed(0)
    base = Linear4bit(64, 32, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
    layer = LoraLinear(base, r=3, alpha=6).train()
    nn.init.normal_(layer.lora_B)
    x = torch.randn(4, 64, requires_grad=True)
    layer(x).square().sum().backward()
    dense = quantized.dequantized(base) + layer.scaling * layer.lora_B @ layer.lora_A
    expected = (x @ dense.t() + base.bias).square().sum()
    for found, wanted in zip(
        (x.grad, layer.lora_A.grad, layer.lora_B.grad),
        torch.autograd.grad(expected, [x, layer.lora_A, layer.lora_B]),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
    assert not layer.plain


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_graph_keeps_no_unpacked_weight(device: str) -> None:
    layer = FourBitLinear.of(nn.Linear(128, 96, device=device), compute=torch.bfloat16)
    x = torch.randn(50, 128, dtype=torch.bfloat16, device=device, requires_grad=True)
    assert saved_bytes(layer, lambda: layer(x)) == 0
    lora = LoraLinear(layer, r=4, alpha=8).to(device)
    out: list[Tensor] = []
    assert saved_bytes(lora, lambda: out.append(lora(x))) == (50 * 128 + 50 * 4) * 2
    assert out[0].shape == (50, 96)
    out[0].sum().backward()
    assert x.grad is not None
    assert lora.lora_A.grad is not None


def test_no_cast_and_no_pass_touches_the_bytes() -> None:
    torch.manual_seed(0)
    layer = FourBitLinear.of(nn.Linear(64, 64), compute=torch.bfloat16).eval()
    x = torch.randn(1, 64, dtype=torch.bfloat16)
    before = tensors_digest(dict(layer.named_parameters()))
    with torch.enable_grad():
        learning = layer(x.requires_grad_(True)).detach()
    with torch.inference_mode():
        assert torch.equal(layer(x), learning)
    weight = layer.unpacked(torch.float32)
    layer.to(torch.float16)
    assert torch.equal(layer.unpacked(torch.float32), weight)
    layer.bias.data = layer.bias.data.to(torch.bfloat16)
    assert tensors_digest(dict(layer.named_parameters())) == before
    twin = copy.deepcopy(layer)
    twin.weight[0] ^= 1
    assert tensors_digest(dict(twin.named_parameters())) != before
    assert torch.equal(layer(x), learning)


# torch's own tracer instantiates the class that it warns about.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_numbers_are_the_same() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(FourBitLinear.of(nn.Linear(32, 24), compute=torch.float32), r=2, alpha=4)
    nn.init.normal_(layer.lora_B)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 32)
    for one in (layer, compiled):
        one(x).square().sum().backward()
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(compiled.lora_A.grad, layer.lora_A.grad)
    torch.testing.assert_close(compiled.lora_B.grad, layer.lora_B.grad)


# Whole models


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "opt"])
def test_the_blocks_are_in_4_bit_and_the_rest_as_it_was(tmp_path: Path, family: str, double: bool) -> None:
    from transformers import AutoModelForCausalLM

    source = decoder(tmp_path, family)
    model = loaded(source, double=double)
    whole, _ = load_model(AutoModelForCausalLM, source, load_config(source), held="bf16")
    layers = four_bit_layers(model)
    assert list(layers) == quantized.quantized_names(whole)
    assert {layer.compute for layer in layers.values()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    inside = tuple(f"{name}." for name in layers)
    outside = {n: p for n, p in model.named_parameters() if not n.startswith(inside)}
    assert {p.dtype for p in outside.values()} == {torch.bfloat16}
    assert all(torch.equal(p, whole.get_parameter(n)) for n, p in outside.items())
    for name, layer in layers.items():
        original = whole.get_submodule(name)
        again = FourBitLinear.of(original, compute=torch.bfloat16, double=double)
        assert torch.equal(layer.unpacked(torch.bfloat16), again.unpacked(torch.bfloat16)), name
        assert (layer.bias is None) == (original.bias is None)
    found = quantized.weight_difference(model, whole)
    assert found.layers == len(layers)
    assert 0.08 < found.relative < 0.11  # what nf4 makes of a normal distribution
    assert found.largest > 0


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_answers_are_those_of_the_unpacked_weights(tmp_path: Path, family: str) -> None:
    model = loaded(decoder(tmp_path, family), compute=torch.float32).eval()
    before = logits(model)
    names = quantized.dequantize(model, torch.float32)
    assert names
    assert not four_bit_layers(model)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


def test_a_new_head_is_named_and_not_quantized(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    source = decoder(tmp_path)
    config = load_config(source, num_labels=3)
    model, fresh = quantized.load_quantized(AutoModelForSequenceClassification, source, config)
    assert fresh == {"score.weight"}
    assert type(model.score) is nn.Linear
    assert len(four_bit_layers(model)) == 3 * 7


def test_layers_that_need_precision_keep_it(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    config = families.config_of("t5", decoder_start_token_id=2)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path)
    source = resolve(ModelSection(name=str(tmp_path)))
    model, _ = quantized.load_quantized(AutoModelForSeq2SeqLM, source, load_config(source))
    with torch.device("meta"):
        shape = AutoModelForSeq2SeqLM.from_config(load_config(source), dtype=torch.bfloat16)
    names = quantized.quantized_shape(shape)
    assert names == list(four_bit_layers(model))
    assert {name.rpartition(".")[2] for name in names} == {"q", "k", "v", "o", "wi"}
    bytes_ = [{n: (tuple(p.shape), p.dtype) for n, p in one.named_parameters()} for one in (model, shape)]
    assert bytes_[0] == bytes_[1]
    assert torch.isfinite(model(input_ids=IDS, decoder_input_ids=IDS).logits).all()


@pytest.mark.parametrize("adapter", [False, True])
def test_an_input_cast_to_the_weights_bytes_is_refused(adapter: bool) -> None:
    layer = FourBitLinear.of(nn.Linear(64, 64), compute=torch.bfloat16)
    module = LoraLinear(layer, r=2, alpha=4) if adapter else layer
    with pytest.raises(UserError, match=r"torch\.uint8"):
        module(torch.randn(2, 64).to(module.weight.dtype))


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_the_shape_has_the_bytes_of_the_model_and_of_its_step(tmp_path: Path, family: str, double: bool) -> None:
    from transformers import AutoModelForCausalLM

    source = decoder(tmp_path, family)
    config = load_config(source)
    config.use_cache = False
    model = loaded(source, double=double)
    whole, _ = load_model(AutoModelForCausalLM, source, config, held="bf16")
    with torch.device("meta"):
        shape, whole_shape = (AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16) for _ in range(2))
    assert quantized.quantized_shape(shape, double=double) == list(four_bit_layers(model))
    tensors = [
        {n: (tuple(t.shape), t.dtype) for n, t in (*one.named_parameters(), *one.named_buffers())}
        for one in (model, shape)
    ]
    assert tensors[0] == tensors[1]
    kept = []
    for one in (model, whole, shape, whole_shape):
        one.config.use_cache = False
        tuned(one.requires_grad_(False)).train()
        kept.append(saved_bytes(one, lambda one=one: logits(one).float().sum()))
    # Attention keeps other things on a CPU than on no device; the layers in 4 bit keep what plain ones do on both.
    assert kept[0] == kept[1] > 0
    assert kept[2] == kept[3] > 0


def test_a_model_of_7_billion_is_planned_without_weights() -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(  # Llama 2 7B
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        bos_token_id=1, eos_token_id=2, use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    quantized.quantized_shape(shape)
    tuned(shape, AdapterSection(r=16)).train()
    plan = plan_memory(
        shape,
        lambda: logits(shape).float().sum(),
        optimizer=partial(optimizer_bytes, "adamw"),
        average=False,
        cached=0,
        estimate=0,
    )
    inside = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    learning = 32 * 16 * (4 * 8192 + 3 * (4096 + 11008)) * 4
    scales = inside // 64 * (1 + 4 / 256) + 32 * 7 * (4 + 1024)
    rest = (2 * 32000 * 4096 + 65 * 4096) * 2
    buffers = sum(b.numel() * b.element_size() for b in shape.buffers())
    assert plan.traced
    assert plan.weights == inside / 2 + scales + rest + buffers + learning
    assert plan.optimizer == 2 * learning
    assert plan.gradients > 0.4 * learning, "with so few tokens it is gradients that a step holds at its worst moment"
    kept = saved_bytes(shape, lambda: logits(shape).float().sum())
    assert 32 * IDS.numel() * 45_000 * 2 < kept < 32 * IDS.numel() * 150_000 * 2


def test_a_step_learns_and_leaves_the_frozen_bytes(tmp_path: Path) -> None:
    model = loaded(decoder(tmp_path))
    frozen = {n: p for n, p in model.named_parameters()}
    before = tensors_digest(frozen)
    tuned(model).train()
    again = {n.replace(".base_layer", ""): p for n, p in model.named_parameters() if "lora_" not in n}
    assert tensors_digest(again) == before
    learns = list(adapters.adapter_parameters(model).values())
    assert {p.dtype for p in learns} == {torch.float32}
    stepper, losses = torch.optim.AdamW(learns, lr=1e-2), []
    for _ in range(12):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    model.eval()
    with torch.inference_mode():
        logits(model)
    assert tensors_digest(again) == before
    assert (
        tensors_digest({n: p for n, p in loaded(resolve(ModelSection(name=str(tmp_path)))).named_parameters()})
        == before
    )


# Adapters


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("double", [True, False])
def test_peft_loads_our_adapter_over_its_own_4_bit(tmp_path: Path, family: str, double: bool) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    sizes = {"hidden_size": 64} if family == "gpt2" else {"hidden_size": 64, "intermediate_size": 128}
    source = decoder(tmp_path / "base", family, **sizes)
    ours = tuned(loaded(source, compute=torch.float32, double=double))
    adapters.save_adapter(ours, tmp_path / "adapter", base_name=source.name, task_type="CAUSAL_LM")
    base = AutoModelForCausalLM.from_pretrained(
        source.folder, quantization_config=quantized.quantization(torch.float32, double), dtype=torch.float32
    )
    # In eval mode bitsandbytes' own layer computes otherwise.
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"), is_trainable=True).train()
    for module in (*theirs.modules(), *ours.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-5, atol=1e-5)
    fresh = loaded(source, compute=torch.float32, double=double)
    assert not torch.allclose(logits(fresh), logits(ours), atol=1e-2)
    adapters.load_adapter(fresh, tmp_path / "adapter")
    assert torch.equal(logits(fresh.eval()), logits(ours.eval()))


def test_merging_into_the_unpacked_weights_and_into_the_original_ones(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    source = decoder(tmp_path / "base")
    model = tuned(loaded(source, compute=torch.float32)).eval()
    adapters.save_adapter(model, tmp_path / "adapter", base_name=source.name, task_type="CAUSAL_LM")
    before = logits(model)
    with pytest.raises(UserError, match="FourBitLinear") as caught:
        adapters.merge(model)
    assert "without quantization" in caught.value.fix
    original, _ = load_model(AutoModelForCausalLM, source, load_config(source))
    original.eval()
    adapters.load_adapter(original, tmp_path / "adapter")
    apart = quantized.weight_difference(model, original)
    assert apart.layers == 21
    assert adapters.merge(original) == 0.0  # nothing is rounded in fp32
    assert not torch.allclose(logits(original), before, atol=1e-3)
    quantized.dequantize(model, torch.float32)
    assert adapters.merge(model) == 0.0
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    merged = {n: p for n, p in model.named_parameters() if n.endswith("proj.weight")}
    largest = max(float((p - original.get_parameter(n)).abs().max()) for n, p in merged.items())
    assert largest == pytest.approx(apart.largest, rel=1e-3)


def test_no_magnitude_is_learned_over_4_bit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter\.dora") as caught:
        tuned(loaded(decoder(tmp_path)), AdapterSection(r=4, dora=True))
    assert caught.value.fix == "set dora: false"


# Faults


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = decoder(tmp_path)
    name = "model.layers.1.mlp.up_proj"
    save_file({k: v for k, v in load_file(source.files[0]).items() if k != f"{name}.weight"}, source.files[0])
    with pytest.raises(UserError, match=f"holds no weight for {name}"):
        loaded(source)


def test_a_model_in_4_bit_is_not_saved_whole(tmp_path: Path) -> None:
    model = loaded(decoder(tmp_path / "base"))
    with pytest.raises(UserError, match="4 bit"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_original_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = loaded(decoder(tmp_path))
    with pytest.raises(UserError, match=r"no layer model\.layers\.0"):
        quantized.weight_difference(model, nn.Linear(2, 2))
    with pytest.raises(UserError, match="no linear layers to quantize"):
        quantized.quantized_names(nn.Sequential(nn.Embedding(2, 2)))


def test_without_bitsandbytes_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = decoder(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    for work in (lambda: quantized.quantization(torch.bfloat16), lambda: loaded(source)):
        with pytest.raises(UserError, match="bitsandbytes") as caught:
            work()
        assert caught.value.fix == "pip install 'tunesmith[quantized]'"


def test_importing_it_runs_nothing_from_a_hub(tmp_path: Path) -> None:
    """bitsandbytes asks the package ``kernels`` for compiled code when it is imported on some CPUs."""
    (tmp_path / "kernels.py").write_text("def get_kernel(*a, **k):\n    print('fetched')\n    raise OSError\n")
    code = "from tunesmith.model.four_bit import library; library(); import kernels; print(kernels.__name__)"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "kernels\n", "")
