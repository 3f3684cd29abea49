"""Building a detector by name."""

from typing import Any

from cutler_pl.models.config import make_config
from cutler_pl.models.detector import Detector


def build_detector(name: str, num_classes: int = 1, **options: Any) -> Detector:
    """Build a detector with randomly initialised weights.

    Called on a list of uint8 RGB images (3, height, width), it gives predictions in eval mode (boxes as xyxy pixels of
    the image given, scores, labels from 1, masks) and, called with targets, a dict of losses in training mode.

    Args:
        name: `cascade_mask_rcnn_r50_fpn` or `mask_rcnn_r50_fpn`; both have the recipe of the paper's unsupervised
            training as their defaults, weights aside.
        num_classes: Classes without the background.
        **options: Fields of `DetectorConfig`.

    Raises:
        ConfigError: The name or an option does not exist, or a value cannot work.
    """
    return Detector(make_config(name, num_classes=num_classes, **options))
