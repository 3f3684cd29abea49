"""What a detector is to everything that trains, runs and measures one; `Detector` is the first of its kind."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.tiled import EncodedPrediction
from cutler_pl.types import Prediction, Target

__all__ = ["AnyDetector", "CompactPrediction", "EncodedPrediction"]


@runtime_checkable
class AnyDetector(Protocol):
    """An `nn.Module` that `DetectorModule` trains and runs; examples/another_detector.py is a second one.

    `reseed(keys)`, with one key per image, is optional: it is called before each step of a training where it exists.
    """

    def __call__(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, *, group_size: int | None = None
    ) -> dict[str, Float[Tensor, ""]] | list[Prediction]:
        """Losses of a batch in training, by name; their sum is minimised.

        Args:
            images: uint8 RGB (3, height, width) of any sizes, on the detector's device.
            targets: Ground truth of each image, labels from 1.
            group_size: Losses are means over groups of so many consecutive images; None: over the batch.
        """
        ...

    def predict(self, images: Sequence[Tensor]) -> Sequence[CompactPrediction | EncodedPrediction]:
        """Detections of each image in its pixels, as small masks or as run lengths."""
        ...
