"""Learning rates over steps: a linear warm-up, then steps down at milestones, as in all recipes of the paper."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cutler_pl.runtime.ranges import COUNT, Count, ListOf, Number, Share, check_arguments


@check_arguments("scheduler.")
def warmup_multistep_lr(
    optimizer: Optimizer,
    *,
    max_steps: Count,
    milestones: Annotated[Sequence[int], ListOf(COUNT, 0, rising=True)],
    gamma: Annotated[float, Number(above=0, max=1000)] = 0.1,
    warmup_steps: int = 1000,
    warmup_factor: Share = 0.001,
) -> LambdaLR:
    """Schedule that multiplies each group's learning rate by `learning_rate_factor`, stepped per optimizer step.

    Args:
        max_steps: Length of the training, for the Trainer's config; not used here.
        milestones: Increasing steps at which the learning rate is multiplied by `gamma`.
        gamma: Factor at each milestone.
        warmup_steps: Steps of the warm-up; 0 for none.
        warmup_factor: Factor at step 0; it grows linearly to 1.

    Raises:
        ConfigError: Milestones do not increase, or a number is out of its range.
    """
    steps = partial(learning_rate_factor, milestones=list(milestones), gamma=gamma)
    return LambdaLR(optimizer, partial(steps, warmup_steps=warmup_steps, warmup_factor=warmup_factor))


def learning_rate_factor(
    step: int, *, milestones: Sequence[int], gamma: float, warmup_steps: int, warmup_factor: float
) -> float:
    """Factor on the base learning rate at a step (counted from 0): `gamma` per milestone passed, times the warm-up."""
    factor = gamma ** bisect_right(milestones, step)
    if step >= warmup_steps:
        return factor
    progress = step / warmup_steps
    return factor * (warmup_factor * (1 - progress) + progress)
