"""What the detector finds in one image, as the page shows it."""

import time
from dataclasses import dataclass
from typing import cast

import numpy as np

from cutler_pl.api import CutLER, Result
from cutler_pl.coco import rle
from cutler_pl.coco.schema import Instance
from cutler_pl.visual.draw import draw_instances
from cutler_pl.web.demo.downloads import Found
from cutler_pl.web.demo.figures import Pixels, shrink, stretch_all


@dataclass(frozen=True)
class Detection:
    """An answer of the detector.

    Attributes:
        before: The image, at the size of the figure.
        after: The same with masks, boxes and scores.
        found: The objects, in pixels of the image.
        seconds: What the network took.
    """

    before: Pixels
    after: Pixels
    found: Found
    seconds: float


def detect(model: CutLER, image: Pixels, *, score_threshold: float, file_name: str) -> Detection:
    """Detect the objects of an image.

    Args:
        model: The detector.
        image: Upright pixels.
        score_threshold: Objects score above it.
        file_name: What the image is called in the annotations.
    """
    start = time.perf_counter()
    result = cast(Result, model.predict(image, score_threshold=score_threshold))
    seconds = time.perf_counter() - start
    before = shrink(image)
    scale = np.array(before.shape[1::-1] * 2) / np.array(image.shape[1::-1] * 2)
    after = draw_instances(
        before,
        stretch_all(result.encoded, before.shape[:2]),
        boxes=result.boxes.numpy() * scale,
        scores=result.scores,
        labels=[model.names[label] for label in result.labels.tolist()] if len(model.names) > 1 else None,
        opacity=0.5,
        brightness=0.5,
    )
    return Detection(before, after, _found(model, result, file_name), seconds)


def _found(model: CutLER, result: Result, file_name: str) -> Found:
    instances: list[Instance] = [
        {"bbox": one["bbox"], "area": rle.area(mask), "segmentation": mask, "score": round(one["score"], 4)}
        for one, mask in zip(result.to_coco(image_id=1), result.encoded, strict=True)
    ]
    return Found(
        file_name,
        result.image_size_hw,
        instances,
        [model.category_ids[label] for label in result.labels.tolist()],
        {model.category_ids[label]: name for label, name in model.names.items()},
    )
