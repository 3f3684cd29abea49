"""Writes what `Trainer.predict` finds as one COCO results file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from cutler_pl.coco.schema import Result
from cutler_pl.models.predictions import Predictions
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks.coco_results import RankResults
from cutler_pl.types import ImageTensor

log = get_logger(__name__)

OnImage = Callable[[ImageTensor, str, Sequence[Result]], None]
"""Called with an image, its file name and its results, which need no second decoding then."""


class PredictionWriter(L.Callback):
    """Streams predictions to a COCO results file; memory does not grow with the number of images.

    Run it with `trainer.predict(..., return_predictions=False)`, else Lightning itself collects all masks. The file
    appears whole at the end. Equal predictions give equal bytes, whatever the number of ranks.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        category_ids: Sequence[int] | None = None,
        score_threshold: float = 0.0,
        max_detections: int | None = None,
        on_image: OnImage | None = None,
    ) -> None:
        """Set the file and what goes into it.

        Args:
            path: The results file; a folder that all ranks share.
            category_ids: Category id of label 1, 2, …; by default those the checkpoint names, else the labels.
            score_threshold: Detections with a lower score are left out.
            max_detections: At most so many detections per image, the best ones.
            on_image: What else happens with each image and its results, such as drawing.
        """
        self.path = Path(path)
        self.category_ids = category_ids
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.on_image = on_image
        self.sizes_hw: dict[int, tuple[int, int]] = {}  # of every image by id, on rank 0 after the run
        self._parts: RankResults | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open this rank's part."""
        self._parts = RankResults(
            self.path,
            rank=trainer.global_rank,
            category_ids=self.category_ids if self.category_ids is not None else stored_category_ids(pl_module),
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )
        self._parts.open()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Encode and append the predictions of a batch."""
        results = add_batch(self._parts, outputs, batch)
        if self.on_image is not None:
            for image, meta, found in zip(*batch, results, strict=True):
                self.on_image(image, meta.file_name, found)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Join the parts of all ranks."""
        self.sizes_hw = merge_parts(self._parts, trainer)
        self._parts = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the part; the results file stays as it was."""
        if self._parts is not None:
            self._parts.close()
            self._parts = None


def add_batch(parts: RankResults | None, predictions: Predictions, batch: Any) -> list[list[Result]]:
    """Append the predictions for a batch `(images, metas)`, and return their results per image."""
    if parts is None:
        raise RuntimeError("predictions came before the start of the run")
    _, metas = batch
    return [parts.add(int(meta.image_id), one) for meta, one in zip(metas, predictions, strict=True)]


def merge_parts(parts: RankResults | None, trainer: L.Trainer) -> dict[int, tuple[int, int]]:
    """Close every rank's part, merge them on rank 0, and let no rank go on before the file is there.

    Returns:
        Height and width of every image by id, on rank 0.
    """
    if parts is None:
        raise RuntimeError("the end of the run came before its start")
    parts.close()
    trainer.strategy.barrier()
    if trainer.is_global_zero:
        with_detections = parts.merge(trainer.world_size)
        log.info(
            "%s: images with detections %d; on this rank: images seen %d, detections written %d, left out by score "
            "threshold or max_detections %d",
            parts.path,
            with_detections,
            parts.images,
            parts.written,
            parts.left_out,
        )
    trainer.strategy.barrier()
    return parts.sizes_hw


def stored_category_ids(pl_module: L.LightningModule) -> list[int] | None:
    """Category ids that the module's `model_config` names, None if it names none."""
    config = getattr(pl_module, "model_config", {})
    category_ids = config.get("category_ids")
    return None if category_ids is None else [int(category_id) for category_id in category_ids]
