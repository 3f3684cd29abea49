"""A resumed training has the momentum of the checkpoint and the settings of now."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import StepCheckpoint
from cutler_pl.training.carry_over import carry_over
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr

Make = Callable[..., Any]


@pytest.fixture
def train(stand_in: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path) -> Make:
    """`train(steps, resume, accumulate=…, schedule={…}, lr=…, …)` writes a checkpoint and returns it."""

    def run(
        steps: int, resume: Path | None = None, *, accumulate: int = 1, schedule: dict[str, Any] | None = None,
        **optimizer: Any,
    ) -> Path:  # fmt: skip
        settings = {"lr": 0.05, "weight_decay": 1e-4} | optimizer
        module = DetectorModule(
            stand_in(),
            optimizer=partial(sgd, **settings),
            scheduler=partial(
                warmup_multistep_lr, **({"max_steps": 8, "milestones": [6], "warmup_steps": 3} | (schedule or {}))
            ),
        )
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        trainer = make_trainer(
            max_steps=steps, callbacks=[StepCheckpoint(folder, every_n_steps=100)], enable_checkpointing=True,
            accumulate_grad_batches=accumulate,
        )  # fmt: skip
        start = {} if resume is None else {"ckpt_path": resume, "weights_only": True}
        trainer.fit(module, datamodule=stand_in_data(), **start)
        return folder / f"step_{steps:07d}.ckpt"

    return run


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def groups(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(path)["optimizer_states"][0]["param_groups"]
    return found


def momentum(path: Path) -> dict[str, torch.Tensor]:
    stored = load(path)["optimizer_states"][0]
    names = {
        i: name
        for group in stored["param_groups"]
        for i, name in zip(group["params"], group["param_names"], strict=True)
    }
    return {names[i]: state["momentum_buffer"] for i, state in stored["state"].items()}


def test_nothing_changed_is_bit_identical(train: Make) -> None:
    whole, parts = load(train(8)), load(train(8, train(5)))
    assert all(torch.equal(value, parts["state_dict"][key]) for key, value in whole["state_dict"].items())
    assert whole["optimizer_states"][0]["param_groups"] == parts["optimizer_states"][0]["param_groups"]
    assert whole["lr_schedulers"] == parts["lr_schedulers"]


def test_changed_settings_count_from_the_next_step(train: Make) -> None:
    """As if the step had been reached with them: the rate of the step after, too."""
    changed = train(5, train(4), lr=0.01, momentum=0.5, weight_decay=0.0, schedule={"milestones": [5]})
    assert {(g["initial_lr"], g["lr"], g["momentum"]) for g in groups(changed)} == {(0.01, 0.001, 0.5)}
    by_hand = load(train(4))
    for group in by_hand["optimizer_states"][0]["param_groups"]:
        group.update(lr=0.01, initial_lr=0.01)
    slower, usual = load(train(5, train(4), lr=0.01)), load(train(5, train(4)))
    before = by_hand["state_dict"]["model.conv.weight"]
    step = [(content["state_dict"]["model.conv.weight"] - before) for content in (usual, slower)]
    torch.testing.assert_close(step[1], step[0] / 5, rtol=1e-4, atol=1e-8)


def test_momentum_follows_the_names(train: Make) -> None:
    """Other decays make other groups."""
    start = train(4)
    regrouped = train(4 + 1, start, norm_weight_decay=1e-4, lr=1e-9)
    assert [len(g["params"]) for g in groups(regrouped)] != [len(g["params"]) for g in groups(start)]
    assert momentum(regrouped).keys() == momentum(start).keys()
    assert {name: value.shape for name, value in momentum(regrouped).items()} == {
        name: value.shape for name, value in momentum(start).items()
    }


def test_other_groups_without_names_are_refused(train: Make, stand_in: Make) -> None:
    content = load(train(2))
    for group in content["optimizer_states"][0]["param_groups"]:
        del group["param_names"]
    model = stand_in()
    carry_over(content | {}, sgd(model, lr=0.1, weight_decay=1e-4), None)
    content = load(train(2))
    for group in content["optimizer_states"][0]["param_groups"]:
        del group["param_names"]
    with pytest.raises(CheckpointError, match="earlier version"):
        carry_over(content, sgd(model, lr=0.1, weight_decay=0.0), None)


def test_accumulation_can_change(train: Make) -> None:
    """Each step after has all its batches."""
    content = load(train(6, train(3), accumulate=2))
    assert content["global_step"] == 6
    assert content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] == 12
