"""Training and validation images with the predictions of the detector in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import lightning as L
import torch
from torch import Tensor, nn

from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import full_masks
from cutler_pl.runtime.ranges import Count, Integer, Share, check_arguments
from cutler_pl.training.accumulation import ends_step
from cutler_pl.training.loggers import trackers
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.image_files import save_image


class VisualSamples(L.Callback):
    """Draws a few training images with targets beside predictions, and a few validation images, on rank 0.

    Training images are drawn as the detector sees them, augmented, at the first step, at the last one, and every
    `every_n_steps` steps. Trackers get them, too.

    Args:
        dirpath: Folder; images are written to `<dirpath>/step_<number>/`.
        every_n_steps: Interval in steps at which training images are drawn.
        num_images: Largest number of images per batch and per validation run.
        score_threshold: Lowest score of a drawn prediction.
        max_side: Longest side of a drawn image in pixels.
    """

    @check_arguments("callbacks.visual_samples.")
    def __init__(
        self,
        dirpath: str | Path,
        *,
        every_n_steps: Count = 5000,
        num_images: int = 4,
        score_threshold: Share = 0.35,
        max_side: Annotated[int, Integer(16, 65_535)] = 800,
    ) -> None:
        self.dirpath = Path(dirpath)
        self.every_n_steps = every_n_steps
        self.num_images = num_images
        self.score_threshold = score_threshold
        self.max_side = max_side
        self._drawn = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw images of a step's last batch, as transformed for training."""
        step = trainer.global_step
        due = step % self.every_n_steps == 0 or step in (1, trainer.max_steps)
        if not (trainer.is_global_zero and due and ends_step(trainer, batch_idx)):
            return
        images, targets = (part[: self.num_images] for part in batch)
        predictions = _predict(trainer, cast(nn.Module, pl_module.model), images)
        names = _class_names(pl_module)
        for number, (image, target, prediction) in enumerate(zip(images, targets, predictions, strict=True)):
            labels = _labels(target["labels"], names)
            truth = draw_instances(image, target["masks"], boxes=target["boxes"], labels=labels)
            panels = [truth, self._draw_prediction(image, prediction, names)]
            shown = side_by_side(panels, ["training target", "prediction"])
            self._save(trainer, f"train_{number}", shown, max_side=2 * self.max_side)

    def on_validation_start(self, *_: Any) -> None:
        """Start again with the first image."""
        self._drawn = 0

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Draw the first images of the validation run."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        images, _ = batch
        for image, prediction in zip(images, outputs, strict=True):
            if self._drawn >= self.num_images:
                return
            drawn = self._draw_prediction(image, prediction, _class_names(pl_module))
            self._save(trainer, f"val_{self._drawn}", drawn, max_side=self.max_side)
            self._drawn += 1

    def _save(self, trainer: L.Trainer, name: str, shown: Any, *, max_side: int) -> None:
        path = self.dirpath / f"step_{trainer.global_step:07d}" / f"{name}.jpg"
        save_image(path, shown, max_side=max_side)
        for tracker in trackers(trainer.loggers):
            tracker.track_figure(path, step=trainer.global_step)

    def _draw_prediction(self, image: Tensor, prediction: CompactPrediction, names: Sequence[str] | None) -> Any:
        drawn = torch.nonzero(prediction["scores"] >= self.score_threshold).flatten()
        return draw_instances(
            image,
            full_masks(prediction, drawn),
            boxes=prediction["boxes"][drawn].float(),
            scores=prediction["scores"][drawn].float(),
            labels=_labels(prediction["labels"][drawn], names),
        )


def _class_names(pl_module: L.LightningModule) -> list[str] | None:
    """Names of labels 1, 2, … in the module's `model_config`; None for a single class, or without names."""
    names = getattr(pl_module, "model_config", {}).get("class_names")
    return list(names) if names is not None and len(names) > 1 else None


def _labels(labels: Tensor, names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else [names[label - 1] for label in labels.tolist()]


def _predict(trainer: L.Trainer, model: nn.Module, images: Sequence[Tensor]) -> list[CompactPrediction]:
    """Predict in evaluation mode and restore the mode of every submodule."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            predictions: list[CompactPrediction] = cast(Any, model).predict(list(images))
            return predictions
    finally:
        for module, mode in modes:
            module.training = mode
