"""Optimizer and schedule of a resumed training: what was learned comes from the checkpoint, what is set from the run.

Lightning restores learning rate, decay and momentum from the checkpoint, so that changed settings have no effect. Here
only the state of each parameter and the step come from there; with unchanged settings the result is the same, bit for
bit.
"""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from cutler_pl.errors import CheckpointError, ConfigError


def carry_over(checkpoint: dict[str, Any], optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Put the settings of a new optimizer and schedule into a checkpoint that they are about to be restored from.

    Args:
        checkpoint: A training checkpoint of Lightning; changed in place.
        optimizer, scheduler: As the run's settings make them.

    Raises:
        CheckpointError: The parameters cannot be matched.
        ConfigError: A schedule of another kind than `LambdaLR` has another learning rate than in the checkpoint.
    """
    if not checkpoint.get("optimizer_states"):
        return
    (stored,) = checkpoint["optimizer_states"]
    fresh = optimizer.state_dict()
    places = _places(stored["param_groups"], fresh["param_groups"])
    for group in fresh["param_groups"]:
        group.setdefault("initial_lr", group["lr"])
    if isinstance(scheduler, LambdaLR):
        for schedule in checkpoint.get("lr_schedulers", ()):
            factors = [factor(schedule["last_epoch"]) for factor in scheduler.lr_lambdas]
            schedule["base_lrs"] = list(scheduler.base_lrs)
            schedule["_last_lr"] = [rate * factor for rate, factor in zip(scheduler.base_lrs, factors, strict=True)]
            schedule["lr_lambdas"] = [None] * len(factors)
            for group, rate in zip(fresh["param_groups"], schedule["_last_lr"], strict=True):
                group["lr"] = rate
    elif scheduler is not None:
        before, now = ([group.get("initial_lr") for group in of["param_groups"]] for of in (stored, fresh))
        if before != now:
            raise ConfigError(
                f"optimizer.lr cannot change on resume with the schedule {type(scheduler).__name__}, which keeps its "
                "own; leave the learning rate as it was, or start from the weights by model.init=<checkpoint>"
            )
        for group, old in zip(fresh["param_groups"], stored["param_groups"], strict=True):
            group["lr"] = old["lr"]
    stored["state"] = {places[place]: state for place, state in stored["state"].items() if place in places}
    stored["param_groups"] = fresh["param_groups"]


def _places(stored: list[Mapping[str, Any]], fresh: list[Mapping[str, Any]]) -> dict[int, int]:
    """Number of each parameter now by its number in the checkpoint, by name where the checkpoint has names."""
    before = [place for group in stored for place in group["params"]]
    now = [place for group in fresh for place in group["params"]]
    if all("param_names" in group for group in (*stored, *fresh)):
        by_name = dict(zip((name for group in fresh for name in group["param_names"]), now, strict=True))
        names = [name for group in stored for name in group["param_names"]]
        return {place: by_name[name] for place, name in zip(before, names, strict=True) if name in by_name}
    if [len(group["params"]) for group in stored] != [len(group["params"]) for group in fresh]:
        raise CheckpointError(
            "the optimizer of the checkpoint, of an earlier version, groups its parameters in another way; leave "
            "optimizer.weight_decay, norm_weight_decay and head_lr_multiplier as they were"
        )
    return dict(zip(before, now, strict=True))
