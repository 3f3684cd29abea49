"""Average precision and recall on the validation images, during training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from cutler_pl.evaluation import IouType, evaluate
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks.coco_results import RankResults
from cutler_pl.training.callbacks.prediction_writer import add_batch, merge_parts, stored_category_ids

log = get_logger(__name__)


class CocoEvaluator(L.Callback):
    """Evaluates every validation run with COCO's rules and logs `val/<bbox|segm>/<metric>` in percent.

    Where classes count, the measures of each category stand in `<stem of path>_categories.json`, by "bbox" and "segm".
    """

    def __init__(
        self,
        annotations: str | Path,
        *,
        path: str | Path,
        iou_types: Sequence[IouType] = ("bbox", "segm"),
        class_agnostic: bool = True,
        max_dets: Sequence[int] = (1, 10, 100),
        metrics: Sequence[str] = ("AP", "AP50", "AP75", "AR100"),
        category_ids: Sequence[int] | None = None,
    ) -> None:
        """Set the ground truth and what is measured.

        Args:
            annotations: COCO file of the validation images.
            path: Results file for the predictions of the latest validation run.
            iou_types: "bbox", "segm" or both.
            class_agnostic: Count all categories as one.
            max_dets: Detections an image that recall is measured at; the last is AP's, too.
            metrics: Names of `evaluate_coco` to log.
            category_ids: Category id of label 1, 2, …; by default those the module names, else the labels.
        """
        self.annotations = Path(annotations)
        self.path = Path(path)
        self.iou_types = tuple(iou_types)
        self.class_agnostic = class_agnostic
        self.max_dets = tuple(max_dets)
        self.metrics = tuple(metrics)
        self.category_ids = category_ids
        self._parts: RankResults | None = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open this rank's part."""
        category_ids = self.category_ids if self.category_ids is not None else stored_category_ids(pl_module)
        self._parts = RankResults(self.path, rank=trainer.global_rank, category_ids=category_ids)
        self._parts.open()

    def on_validation_batch_end(
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

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Join the parts, evaluate on rank 0, and log the same numbers on every rank."""
        merge_parts(self._parts, trainer)
        self._parts = None
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            curves = evaluate(
                self.annotations,
                self.path,
                iou_types=self.iou_types,
                class_agnostic=self.class_agnostic,
                max_dets=self.max_dets,
            )
            if not self.class_agnostic:
                by_category = {iou_type: curve.per_category() for iou_type, curve in curves.items()}
                write_json(self.path.with_name(f"{self.path.stem}_categories.json"), by_category, indent=2)
            results = {iou_type: curve.summary() for iou_type, curve in curves.items()}
            values = {
                f"val/{iou_type}/{name}": float(results[iou_type][name])
                for iou_type in self.iou_types
                for name in self.metrics
            }
            log.info("validation at step %d: %s", trainer.global_step, _one_line(values))
        values = trainer.strategy.broadcast(values)
        pl_module.log_dict(values, sync_dist=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the part; the results file stays as it was."""
        if self._parts is not None:
            self._parts.close()
            self._parts = None


def _one_line(values: dict[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('val/')} {value:.2f}" for name, value in values.items())
