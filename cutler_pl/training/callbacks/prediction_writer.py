"""Writes the predictions of `Trainer.predict` as one COCO results file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from cutler_pl.coco.schema import Result
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks.coco_results import RankResults
from cutler_pl.types import ImageTensor

log = get_logger(__name__)

OnImage = Callable[[ImageTensor, str, Sequence[Result]], None]
"""Called with an image, its file name and its results."""


class PredictionWriter(L.Callback):
    """Streams predictions to a COCO results file, written atomically at the end, in constant memory.

    Use `trainer.predict(..., return_predictions=False)`, else Lightning collects all masks.

    Args:
        path: The results file, in a folder that all ranks share.
        category_ids: Category id of label 1, 2, …; by default those of the checkpoint, else the labels.
        min_score: Least score of the detections that are written.
        resume: Keep the parts of an interrupted run.
        on_image: Called with each image and its results, to draw them for instance.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        category_ids: Sequence[int] | None = None,
        min_score: float = 0.0,
        resume: bool = False,
        on_image: OnImage | None = None,
    ) -> None:
        self.path = Path(path)
        self.category_ids = category_ids
        self.min_score = min_score
        self.resume = resume
        self.on_image = on_image
        self.sizes_hw: dict[int, tuple[int, int]] = {}  # of every image by id, on rank 0 after the run
        self._part: RankResults | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open this rank's part."""
        ids = self.category_ids if self.category_ids is not None else stored_category_ids(pl_module)
        self._part = RankResults(
            self.path, rank=trainer.global_rank, category_ids=ids, min_score=self.min_score, resume=self.resume
        )
        self._part.open()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Append the predictions for a batch `(images, metas)`."""
        assert self._part is not None  # opened when the run started
        for image, meta, prediction in zip(*batch, outputs, strict=True):
            draw = None if self.on_image is None else partial(self.on_image, image, meta.file_name)
            self._part.add(int(meta.image_id), prediction, first=draw)  # an image that is recorded has its figure

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Merge the parts of all ranks on rank 0, between two barriers."""
        assert self._part is not None  # opened when the run started
        part, self._part = self._part, None
        part.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            with_detections = part.merge(trainer.world_size)
            self.sizes_hw = part.sizes_hw
            log.info("%s: %d images, %d of them with detections", part.path, len(part.sizes_hw), with_detections)
            log.info("this rank: images seen %d, detections written %d", part.images, part.written)
        trainer.strategy.barrier()

    def on_exception(self, *_: Any) -> None:
        """Close the part; the results file stays unchanged."""
        if self._part is not None:
            self._part.close()
            self._part = None


def stored_category_ids(pl_module: L.LightningModule) -> list[int] | None:
    """Category ids in the module's `model_config`, if any."""
    category_ids = getattr(pl_module, "model_config", {}).get("category_ids")
    return None if category_ids is None else [int(category_id) for category_id in category_ids]
