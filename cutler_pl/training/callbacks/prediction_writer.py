"""Writes what `Trainer.predict` finds as one COCO results file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from cutler_pl.models.predictions import Predictions
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks.coco_results import RankResults

log = get_logger(__name__)


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
    ) -> None:
        """Set the file and what goes into it.

        Args:
            path: The results file; a folder that all ranks share.
            category_ids: Category id of label 1, 2, …; by default those the checkpoint names, else the labels.
            score_threshold: Detections with a lower score are left out.
            max_detections: At most so many detections of an image, the best ones.
        """
        self.path = Path(path)
        self.category_ids = category_ids
        self.score_threshold = score_threshold
        self.max_detections = max_detections
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
        add_batch(self._parts, outputs, batch)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Join the parts of all ranks."""
        merge_parts(self._parts, trainer)
        self._parts = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the part; the results file stays as it was."""
        if self._parts is not None:
            self._parts.close()
            self._parts = None


def add_batch(parts: RankResults | None, predictions: Predictions, batch: Any) -> None:
    """Append the predictions for a batch `(images, metas)`."""
    if parts is None:
        raise RuntimeError("predictions came before the start of the run")
    _, metas = batch
    for meta, prediction in zip(metas, predictions, strict=True):
        parts.add(int(meta.image_id), prediction)


def merge_parts(parts: RankResults | None, trainer: L.Trainer) -> None:
    """Close every rank's part, join them on rank 0, and let no rank go on before the file is there."""
    if parts is None:
        raise RuntimeError("the end of the run came before its start")
    parts.close()
    trainer.strategy.barrier()
    if trainer.is_global_zero:
        found = parts.merge(trainer.world_size)
        log.info(
            "%s: images with detections %d; on this rank: images seen %d, detections written %d, left out by score "
            "threshold or top-k %d",
            parts.path,
            found,
            parts.images,
            parts.kept,
            parts.left_out,
        )
    trainer.strategy.barrier()


def stored_category_ids(pl_module: L.LightningModule) -> list[int] | None:
    """Category ids that the module's `model_config` names, None if it names none."""
    config = getattr(pl_module, "model_config", {})
    category_ids = config.get("category_ids")
    return None if category_ids is None else [int(category_id) for category_id in category_ids]
