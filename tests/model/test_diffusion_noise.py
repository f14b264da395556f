"""How latents are made noisy, against diffusers' own schedulers; draws that belong to a row and to nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.model.diffusion_noise import Schedule, draw
from tunesmith.model.pretrained import diffusers

SHAPE = (4, 6, 5)
CONFIGS: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear"},
    "stable diffusion 1": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "stable diffusion 2": {
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction",
    },
    "cosine, the clean picture": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    "own betas": {"trained_betas": [0.1, 0.2, 0.3, 0.4], "num_train_timesteps": 4},
    "no signal at the end": {
        "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    },
}  # fmt: skip


def latents(seed: int, rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CONFIGS)
def test_noise_and_target_are_those_of_diffusers(name: str) -> None:
    scheduler = diffusers().DDPMScheduler(**CONFIGS[name])
    schedule = Schedule.of(dict(scheduler.config) | {"_class_name": "DDPMScheduler"})
    clean, noise = latents(0), latents(1)
    times = schedule.times(torch.linspace(0, 1, 5))
    assert (int(times[0]), int(times[-1])) == (0, schedule.steps - 1)
    # diffusers multiplies up a thousand factors in fp32, we in fp64.
    close = {"rtol": 1e-4, "atol": 5e-5}
    torch.testing.assert_close(schedule.noisy(clean, noise, times), scheduler.add_noise(clean, noise, times), **close)
    wanted = {"epsilon": noise, "sample": clean}.get(schedule.kind)
    if wanted is None:
        wanted = scheduler.get_velocity(clean, noise, times)
    torch.testing.assert_close(schedule.target(clean, noise, times), wanted, **close)
    assert torch.equal(schedule.model_times(times), times)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_is_that_of_diffusers(shift: float) -> None:
    scheduler = diffusers().FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = Schedule.of(dict(scheduler.config) | {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    assert schedule.kind == "flow"
    at = torch.tensor([50, 250, 500, 750, 950])
    level = (scheduler.config.num_train_timesteps - at) / scheduler.config.num_train_timesteps
    # The place at which the logit-normal draw is this level before the shift.
    place = torch.special.ndtr(torch.logit(level.double()))
    times = schedule.times(place)
    torch.testing.assert_close(times, scheduler.sigmas[at], rtol=0, atol=1e-4)
    torch.testing.assert_close(schedule.model_times(times), scheduler.timesteps[at], rtol=0, atol=0.1)
    clean, noise = latents(0), latents(1)
    mixed = schedule.noisy(clean, noise, scheduler.sigmas[at])
    torch.testing.assert_close(mixed, scheduler.scale_noise(clean, scheduler.timesteps[at], noise))
    assert torch.equal(schedule.target(clean, noise, times), noise - clean)
    assert torch.equal(schedule.weights(times, 5.0), torch.ones(5))


def test_times_of_a_flow_are_logit_normal() -> None:
    schedule = Schedule.of({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    times = schedule.times((torch.arange(10_000) + 0.5) / 10_000)
    normal = torch.logit(times.double())
    assert abs(float(normal.mean())) < 1e-3
    assert float(normal.std()) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("name", ["stable diffusion 1", "stable diffusion 2", "cosine, the clean picture"])
def test_min_snr_weights_are_those_of_the_paper(name: str) -> None:
    scheduler = diffusers().DDPMScheduler(**CONFIGS[name])
    schedule = Schedule.of(dict(scheduler.config) | {"_class_name": "DDPMScheduler"})
    times = torch.tensor([0, 1, 100, 300, 600, 999])
    found = schedule.weights(times, 5.0)
    for time, weight in zip(times.tolist(), found.tolist(), strict=True):
        kept = float(scheduler.alphas_cumprod[time])
        ratio = kept / (1 - kept)
        wanted = {
            "epsilon": min(ratio, 5) / ratio,
            "v_prediction": min(ratio, 5) / (ratio + 1),
            "sample": min(ratio, 5),
        }
        assert weight == pytest.approx(wanted[schedule.kind], rel=1e-3)
    assert found[0] < 0.1 if schedule.kind == "epsilon" else found.isfinite().all()
    assert torch.equal(schedule.weights(times, None), torch.ones(6))


def test_weights_are_finite_where_no_signal_is_left() -> None:
    config = diffusers().DDPMScheduler(**CONFIGS["no signal at the end"]).config
    schedule = Schedule.of(dict(config) | {"_class_name": "DDPMScheduler"})
    assert float(schedule.signal[-1]) == 0
    assert schedule.weights(torch.arange(1000), 5.0).isfinite().all()


def test_a_row_draws_the_same_in_every_batch() -> None:
    seeds = [3, 2**61 + 5, 17]
    together, backward = draw(seeds, SHAPE, 0.2), draw(seeds[::-1], SHAPE, 0.2)
    for at, seed in enumerate(seeds):
        alone = draw([seed], SHAPE, 0.2)
        for part in ("posterior", "noise", "place"):
            one = getattr(alone, part)[0]
            assert torch.equal(getattr(together, part)[at], one)
            assert torch.equal(getattr(backward, part)[2 - at], one)
    assert not torch.equal(together.noise[0], together.noise[1])
    assert not torch.equal(together.noise, together.posterior)
    assert bool(((together.place >= 0) & (together.place < 1)).all())


def test_places_and_noise_are_spread_as_they_should() -> None:
    found = draw(range(400), SHAPE)
    assert float(found.place.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(found.place.std()) == pytest.approx(1 / math.sqrt(12), abs=0.03)
    for values in (found.noise, found.posterior):
        assert float(values.mean()) == pytest.approx(0, abs=0.02)
        assert float(values.std()) == pytest.approx(1, abs=0.02)


def test_an_offset_adds_what_is_constant_over_a_channel() -> None:
    plain, offset = draw(range(200), SHAPE), draw(range(200), SHAPE, 0.3)
    added = offset.noise - plain.noise
    assert float(added.flatten(2).std(-1).max()) < 1e-6
    assert float(added[:, :, 0, 0].std()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(plain.place, offset.place)
    assert torch.equal(plain.posterior, offset.posterior)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"_class_name": "DDPMScheduler", "beta_schedule": "linear", "prediction_type": "score"}, "'score'"),
        ({"_class_name": "DDPMScheduler", "beta_schedule": "linear", "prediction_type": "flow"}, "'flow'"),
        ({"_class_name": "DDPMScheduler", "beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ({"_class_name": "EDMEulerScheduler", "sigma_max": 80.0}, "EDMEulerScheduler has no beta_schedule"),
        ({}, "without a name has no beta_schedule"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}, "size of a picture"),
    ],
)
def test_a_schedule_that_is_not_known_is_refused(config: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        Schedule.of(config, "folder/scheduler")
    assert caught.value.where == "folder/scheduler"
    assert caught.value.fix
