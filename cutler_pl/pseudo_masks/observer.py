"""What a caller does beside a MaskCut run, such as drawing."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cutler_pl.coco.parts import ShardRecord
from cutler_pl.maskcut.predictor import ImageMasks


class Observer:
    """Hooks of `generate`; every one does nothing by default.

    Attributes:
        preview_side: Longer side of the preview of each image that `on_image` receives; None for no previews.
    """

    preview_side: int | None = None

    def on_start(self) -> None:
        """Called by one process once the output folder is known to be free and to fit."""

    def is_complete(self, name: str) -> bool:
        """Whether an image that has a record needs no second run, because its figures exist, say."""
        return True

    def on_image(
        self, masks: Sequence[ImageMasks], record: ShardRecord, preview: UInt8[np.ndarray, "height width 3"] | None
    ) -> None:
        """Called in a thread for each image, with the masks of its tiles, before the image counts as done."""
