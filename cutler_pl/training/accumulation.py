"""Gradient accumulation: a step is `trainer.accumulate_grad_batches` forward passes, and all intervals count steps."""

from collections.abc import Mapping
from typing import Any

import lightning as L

PASSES_KEY = "accumulate_grad_batches"
"""Entry of a checkpoint: forward passes per step when it was written."""


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether a batch is the last one of its step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def align_batch_progress(checkpoint: Mapping[str, Any], accumulate: int) -> None:
    """Count the finished steps of a checkpoint in forward passes of a resumed run, in place.

    Lightning steps whenever its count of batches is a multiple of `accumulate`, and counts on from the checkpoint's.
    The passes of an unfinished step are run again.

    Args:
        checkpoint: As read.
        accumulate: Forward passes per step of the resumed run.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress")
    if progress is None:
        return
    before = checkpoint.get(PASSES_KEY, accumulate)
    for counts in (progress["total"], progress["current"]):
        shift = counts["ready"] // before * accumulate - counts["ready"]
        counts.update({name: count + shift for name, count in counts.items()})
