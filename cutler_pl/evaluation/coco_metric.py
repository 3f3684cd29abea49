"""COCO's metrics as a `torchmetrics.Metric`: results are gathered over ranks as bytes of JSON with run lengths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cutler_pl.coco.schema import Result
from cutler_pl.evaluation.coco_eval import EvalParams, compare
from cutler_pl.evaluation.metrics import IouType, PrecisionRecall


class CocoMetric(Metric):
    """AP and AR of COCO results, as `evaluate_coco` gives them.

    Until `reset`, `compute` leaves the detections of all ranks in `results`, by rising image id, and what they give in
    `curves`. An image that two ranks have seen (samplers pad so that ranks have equally many) counts once.

    Args:
        ground_truth: COCO annotations, as path or content.
        params: What is compared.
    """

    full_state_update = False
    results: list[Result]
    curves: dict[IouType, PrecisionRecall]

    def __init__(self, ground_truth: str | Path | Mapping[str, Any], params: EvalParams | None = None) -> None:
        super().__init__()
        self.ground_truth, self.params = ground_truth, params or EvalParams()
        self.results, self.curves = [], {}
        self.records: list[Tensor]
        self.add_state("records", default=[], dist_reduce_fx="cat")
        self.update({})  # ranks without any image take part in the gathering, too

    def reset(self) -> None:
        """Forget all detections."""
        super().reset()
        self.results, self.curves = [], {}
        self.update({})

    def update(self, results: Mapping[int, Sequence[Result]]) -> None:
        """Add detections of some images.

        Args:
            results: COCO results by image id; an image counts with the first that are given.
        """
        lines = b"".join(orjson.dumps([image_id, list(found)]) + b"\n" for image_id, found in results.items())
        encoded = torch.from_numpy(np.frombuffer(bytearray(lines), dtype=np.uint8))
        self.records.append(encoded.to(self.device))

    def compute(self) -> dict[IouType, dict[str, float]]:
        """Metrics in percent by "bbox" and "segm"."""
        lines = dim_zero_cat(self.records).cpu().numpy().tobytes().splitlines()
        by_image = dict(reversed([orjson.loads(line) for line in lines]))
        self.results = [result for image_id in sorted(by_image) for result in by_image[image_id]]
        self.curves = compare(self.ground_truth, self.results, self.params).curves
        return {iou_type: curve.summary() for iou_type, curve in self.curves.items()}
