"""Writes what `Trainer.predict` finds as one COCO results file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from cutler_pl.coco.schema import Result
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks.coco_results import RankResults
from cutler_pl.types import ImageTensor

log = get_logger(__name__)

OnImage = Callable[[ImageTensor, str, Sequence[Result]], None]
"""Called with an image, its file name and its results, so that nobody has to decode the image a second time."""


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
        self._part: RankResults | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open this rank's part."""
        self._part = RankResults(
            self.path,
            rank=trainer.global_rank,
            category_ids=self.category_ids if self.category_ids is not None else stored_category_ids(pl_module),
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )
        self._part.open()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Encode and append the predictions for a batch `(images, metas)`."""
        assert self._part is not None  # opened when the run started
        for image, meta, prediction in zip(*batch, outputs, strict=True):
            results = self._part.add(int(meta.image_id), prediction)
            if self.on_image is not None:
                self.on_image(image, meta.file_name, results)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Merge the parts of all ranks on rank 0; no rank goes on before the file is there."""
        assert self._part is not None  # opened when the run started
        part, self._part = self._part, None
        part.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            with_detections = part.merge(trainer.world_size)
            self.sizes_hw = part.sizes_hw
            log.info(
                "%s: %d images, %d of them with detections; on this rank: images seen %d, detections written %d, left "
                "out by score threshold or max_detections %d",
                part.path,
                len(part.sizes_hw),
                with_detections,
                part.images,
                part.written,
                part.left_out,
            )
        trainer.strategy.barrier()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the part; the results file stays as it was."""
        if self._part is not None:
            self._part.close()
            self._part = None


def stored_category_ids(pl_module: L.LightningModule) -> list[int] | None:
    """Category ids that the module's `model_config` names, None if it names none."""
    config = getattr(pl_module, "model_config", {})
    category_ids = config.get("category_ids")
    return None if category_ids is None else [int(category_id) for category_id in category_ids]
