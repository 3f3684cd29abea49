"""What a training step minimises: losses of a batch, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import lightning as L
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.types import Target

_SAMPLING = 3  # part of the keys: these draws and those of the data are independent


class StepBatch(NamedTuple):
    """The images of one forward pass of a step, and where its random choices come from."""

    images: Sequence[Tensor]
    targets: Sequence[Target]
    seed: int
    step: int
    place: int
    """Position of the first image in the global batch of the step."""
    group_size: int | None = None
    """Losses are means over groups of so many consecutive images; None: over the images of the process."""

    @property
    def keys(self) -> list[tuple[int, ...]]:
        """One key per image for the regions that are sampled in it."""
        return [(self.seed, _SAMPLING, self.step, self.place + i) for i in range(len(self.images))]


class StepLosses(NamedTuple):
    """Losses by name, whose sum is minimised, and other figures of the step that are logged beside them."""

    losses: Mapping[str, Float[Tensor, ""]]
    figures: Mapping[str, Float[Tensor, ""]] = {}


@runtime_checkable
class Objective(Protocol):
    """Gives a step's losses. All processes call the same models equally often, and every parameter gets a gradient."""

    def check(self, trainer: L.Trainer, *, images: int) -> None:
        """Raise `ConfigError` for a run that cannot work, before it starts; `images` per process and forward pass."""

    def losses(self, module: L.LightningModule, batch: StepBatch) -> StepLosses:
        """Losses of a batch under `module.model`."""


class LabelLosses:
    """The detector's losses with the targets of the batch."""

    def check(self, trainer: L.Trainer, *, images: int) -> None:
        """Any run works."""

    def losses(self, module: L.LightningModule, batch: StepBatch) -> StepLosses:
        """As `Objective.losses`."""
        return StepLosses(model_losses(cast(nn.Module, module.model), batch.images, batch.targets, batch.group_size))


def model_losses(
    model: nn.Module, images: Sequence[Tensor], targets: Sequence[Target], group_size: int | None
) -> dict[str, Tensor]:
    """Losses of a detector, which is called with `group_size` where there is one."""
    options = {} if group_size is None else {"group_size": group_size}
    losses: dict[str, Tensor] = model(images, targets, **options)
    return losses


def reseed(model: nn.Module, keys: Sequence[Sequence[int]]) -> None:
    """Start a detector's random choices, where it makes any: one key per image of its next call."""
    if hasattr(model, "reseed"):
        cast(Any, model).reseed(keys)
