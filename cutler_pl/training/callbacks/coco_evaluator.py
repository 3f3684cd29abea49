"""Average precision and recall on the validation images, during training."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, cast

import lightning as L

from cutler_pl.evaluation import EvalParams, IouType
from cutler_pl.evaluation.coco_metric import CocoMetric
from cutler_pl.models.predictions import to_coco_results
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import COUNT, ListOf, check_arguments
from cutler_pl.training.callbacks.prediction_writer import stored_category_ids
from cutler_pl.training.loggers import Table, trackers

log = get_logger(__name__)


class CocoEvaluator(L.Callback):
    """Evaluates every validation run by COCO's rules and logs `val/<bbox|segm>/<metric>` in percent.

    Training validates after its last step as well, whatever the interval. With classes,
    `<stem of path>_categories.json` gets the metrics of each category. Trackers get all metrics as a table
    `validation`, and those of each category as `validation_categories`.

    Args:
        path: Results file for the predictions of the latest validation run.
        annotations: COCO file of the validation images; None for that of the datamodule's `validation`.
        max_dets: Detections per image at which recall is measured; the last one counts for AP.
        metrics: Names of `evaluate_coco` to log.
        category_ids: Category id of label 1, 2, …; by default those of the checkpoint, else the labels.
    """

    @check_arguments("callbacks.coco_evaluator.")
    def __init__(
        self,
        *,
        path: str | Path,
        annotations: str | Path | None = None,
        iou_types: Sequence[IouType] = ("bbox", "segm"),
        class_agnostic: bool = True,
        max_dets: Annotated[Sequence[int], ListOf(COUNT, rising=True)] = (1, 10, 100),
        metrics: Sequence[str] = ("AP", "AP50", "AP75", "AR100"),
        category_ids: Sequence[int] | None = None,
    ) -> None:
        self.path = Path(path)
        self.metrics = tuple(metrics)
        self.category_ids = category_ids
        self.annotations = annotations
        self.params = EvalParams(tuple(iou_types), class_agnostic, tuple(max_dets))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Have Lightning validate after the last step: it does so where a training is told to stop."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with no detections."""
        annotations = self.annotations or cast(Any, trainer).datamodule.validation.annotations
        self.metric = CocoMetric(Path(annotations), self.params).to(pl_module.device)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Add the predictions for a batch `(images, metas)`."""
        _, metas = batch
        ids = self.category_ids if self.category_ids is not None else stored_category_ids(pl_module)
        predictions = zip((int(meta.image_id) for meta in metas), outputs, strict=True)
        self.metric.update({image_id: to_coco_results(p, image_id, category_ids=ids) for image_id, p in predictions})

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate the predictions of all ranks; log on every rank, write on rank 0."""
        found = self.metric.compute()
        values = {f"val/{kind}/{name}": found[kind][name] for kind in found for name in self.metrics}
        if trainer.is_global_zero:
            write_json(self.path, self.metric.results)
            tables = [_table("validation", {(kind,): found[kind] for kind in found})]
            if not self.params.class_agnostic:
                by_category = {kind: curve.per_category() for kind, curve in self.metric.curves.items()}
                write_json(self.path.with_name(f"{self.path.stem}_categories.json"), by_category, indent=2)
                rows = {(kind, name): values for kind, each in by_category.items() for name, values in each.items()}
                tables.append(_table("validation_categories", rows))
            for tracker, table in product(trackers(trainer.loggers), tables):
                tracker.track_table(table, step=trainer.global_step)
            shown = ", ".join(f"{name.removeprefix('val/')} {value:.2f}" for name, value in values.items())
            log.info("validation at step %d: %s", trainer.global_step, shown)
        self.metric.reset()
        pl_module.log_dict(values, sync_dist=True)


def _table(name: str, rows: Mapping[Any, Mapping[str, float]]) -> Table:
    """Metrics by what they are of: `("bbox",)`, or `("bbox", "cat")`."""
    heads, metrics = ("iou_type", "category"), list(next(iter(rows.values()), {}))
    columns = [*heads[: len(next(iter(rows), ()))], *metrics]
    return Table(name, columns, [[*of, *(values[metric] for metric in metrics)] for of, values in rows.items()])
