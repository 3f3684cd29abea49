import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LambdaLR

from cutler_pl.errors import ConfigError
from cutler_pl.training.schedules import learning_rate_factor, warmup_multistep_lr

RECIPE: dict[str, Any] = {"milestones": [6000, 8000], "gamma": 0.1, "warmup_steps": 1000, "warmup_factor": 0.001}


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.001), (500, 0.5005), (999, 0.999001), (1000, 1.0), (5999, 1.0), (6000, 0.1), (8000, 0.01), (9999, 0.01)],
)
def test_factor_by_hand(step: int, expected: float) -> None:
    assert learning_rate_factor(step, **RECIPE) == pytest.approx(expected, rel=1e-12)


def optimizer_of(*rates: float) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_at(schedule: LambdaLR, step: int) -> list[float]:
    return [base * factor(step) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]


def test_every_group_follows_its_own_base() -> None:
    optimizer = optimizer_of(0.1, 0.4)
    schedule = warmup_multistep_lr(optimizer, max_steps=9, milestones=[3], gamma=0.5, warmup_steps=2, warmup_factor=0.1)
    seen = []
    for _ in range(5):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [[0.01, 0.04], [0.055, 0.22], [0.1, 0.4], [0.05, 0.2], [0.05, 0.2]]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected))


@given(stop=st.integers(0, 30), milestones=st.lists(st.integers(1, 30), unique=True), warmup=st.integers(0, 20))
def test_restored_schedule_continues(stop: int, milestones: list[int], warmup: int) -> None:
    settings: dict[str, Any] = {"max_steps": 30, "milestones": sorted(milestones), "warmup_steps": warmup}
    first_optimizer, second_optimizer = optimizer_of(0.1), optimizer_of(0.1)
    first = warmup_multistep_lr(first_optimizer, **settings)
    for _ in range(stop):
        first_optimizer.step()
        first.step()
    second = warmup_multistep_lr(second_optimizer, **settings)
    second.load_state_dict(first.state_dict())
    second_optimizer.load_state_dict(first_optimizer.state_dict())
    for _ in range(3):
        for optimizer, schedule in ((first_optimizer, first), (second_optimizer, second)):
            optimizer.step()
            schedule.step()
        assert first_optimizer.param_groups[0]["lr"] == second_optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"milestones": [5, 3]}, "milestones=.*in rising order"),
        ({"milestones": [3, 3]}, "milestones=.*in rising order"),
        ({"warmup_steps": -1}, "warmup_steps=-1: .*at least 0"),
        ({"max_steps": 0}, "max_steps=0: .*at least 1"),
    ],
)
def test_settings_that_cannot_work_are_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        warmup_multistep_lr(optimizer_of(0.1), **({"max_steps": 9, "milestones": [3]} | change))


@pytest.mark.golden
@pytest.mark.parametrize(
    "config",
    ["cascade_imagenet", "mask_rcnn_imagenet", "cascade_self_train", "cascade_semi_1perc", "cascade_semi_10perc"],
)
def test_learning_rates_equal_original(golden_dir: Path, config: str) -> None:
    golden = json.loads((golden_dir / "detector/solver.json").read_text())[config]
    solver = golden["solver_cfg"]
    optimizer = optimizer_of(*(group["lr"] for group in golden["groups"]))
    schedule = warmup_multistep_lr(
        optimizer,
        max_steps=solver["MAX_ITER"],
        milestones=solver["STEPS"],
        gamma=solver["GAMMA"],
        warmup_steps=solver["WARMUP_ITERS"],
        warmup_factor=solver["WARMUP_FACTOR"],
    )
    for step, expected in golden["lr_at_iter_base_group"].items():
        assert rates_at(schedule, int(step))[0] == pytest.approx(expected, rel=1e-12), step
    for step, rates in golden["lr_at_iter_all_groups_when_stepped"].items():
        assert rates_at(schedule, int(step)) == pytest.approx(rates, rel=1e-12), step
