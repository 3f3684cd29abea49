"""The mean teacher (Tarvainen and Valpola, 2017): the averaged weights label images for the weights in training.

An alternative to self-training in rounds: instead of predictions on disk, the running average of the weights predicts
half of the images of each step, as they are loaded (weak view); the student learns its confident detections on the
strong view of the same pixels, and the labels of the annotation file on the other half. The values are HASSOD's
(NeurIPS 2023); CUPS (CVPR 2025) has other ones.

Nothing is kept between steps but the average, which is that of `callbacks.ema`: checkpoints hold it, and a resumed run
equals an uninterrupted one. Deviation from HASSOD: there, regions and anchors that match no teacher box are background;
here they give no loss.
"""

from collections.abc import Sequence
from math import cos, pi
from typing import cast

import lightning as L
import torch
from torch import Tensor, nn

from cutler_pl.data.strong_view import StrongView
from cutler_pl.errors import ConfigError
from cutler_pl.models.detector import Detector
from cutler_pl.models.predictions import dense_masks
from cutler_pl.models.protocol import AnyDetector, CompactPrediction, EncodedPrediction
from cutler_pl.models.tta import AugmentedDetector, TtaParams
from cutler_pl.training.callbacks.ema_weights import averaging
from cutler_pl.training.mean_teacher_params import MeanTeacherParams
from cutler_pl.training.objective import StepBatch, StepLosses, model_losses, reseed
from cutler_pl.types import Target


class MeanTeacher:
    """An objective (`training/objective.py`): labels on even places of the batch, the teacher's detections on odd ones.

    Args:
        params: Thresholds and weights.
        strong: The student's view; None: as the teacher's.
        tta: Views in which the teacher sees each image, to merge what it finds; None: one, the image itself.
    """

    def __init__(
        self, *, params: MeanTeacherParams | None = None, strong: StrongView | None = None, tta: TtaParams | None = None
    ) -> None:
        self.params = params or MeanTeacherParams()
        self.strong = strong or StrongView()
        self.tta = tta

    def check(self, trainer: L.Trainer, *, images: int) -> None:
        """Raise unless the run averages its weights, has an end, and can halve its batches.

        Raises:
            ConfigError: One of them is missing.
        """
        if averaging(trainer) is None:
            raise ConfigError(
                "the mean teacher is the average of the weights: keep callbacks.ema, or add callbacks=mean_teacher"
            )
        if trainer.max_steps < 1:
            raise ConfigError("the mean teacher's weights change up to the last step: give trainer.max_steps=<number>")
        if images % 2:
            raise ConfigError(
                f"the mean teacher labels half of the images of each process, which gets {images}: give "
                "data.batch_size=<an even number for each process>"
            )

    def losses(self, module: L.LightningModule, batch: StepBatch) -> StepLosses:
        """As `Objective.losses`; those of the teacher's detections end in `_teacher`."""
        model = cast(nn.Module, module.model)
        average = averaging(module.trainer)
        assert average is not None
        assert average.average is not None
        labels, weak = slice(0, None, 2), slice(1, None, 2)
        found = self.label(average.average, batch.images[weak])
        images = self.strong(batch.images, seed=batch.seed, step=batch.step, place=batch.place)
        group_size = None if batch.group_size is None else max(1, batch.group_size // 2)
        first_weight, teacher_weight = self.weights(batch.step, module.trainer.max_steps)

        reseed(model, batch.keys[labels])
        first = model_losses(model, images[labels], batch.targets[labels], group_size)
        reseed(model, batch.keys[weak])
        taught = model_losses(model, images[weak], found, group_size)
        losses = {name: first_weight * loss for name, loss in first.items()}
        losses |= {f"{name}_teacher": self._factor(name) * teacher_weight * loss for name, loss in taught.items()}
        count = sum(len(target["labels"]) for target in found) / len(found)
        return StepLosses(losses, {"teacher_objects": torch.tensor(count, device=module.device)})

    def weights(self, step: int, max_steps: int) -> tuple[float, float]:
        """Factors of the losses of the annotations and of the teacher's detections at a step, counted from 0."""
        left = (1 + cos(pi * min(step / max_steps, 1.0))) / 2
        first, teacher = (
            end + (start - end) * left for start, end in (self.params.first_weight, self.params.teacher_weight)
        )
        return first, teacher

    @torch.no_grad()
    def label(self, teacher: nn.Module, images: Sequence[Tensor]) -> list[Target]:
        """The teacher's confident detections, with their scores, as targets."""
        teacher.eval()
        shown = teacher if self.tta is None else AugmentedDetector(cast(Detector, teacher), self.tta)
        return [self._target(prediction) for prediction in cast(AnyDetector, shown).predict(images)]

    def _target(self, prediction: CompactPrediction | EncodedPrediction) -> Target:
        scores = prediction["scores"].float()
        kept = torch.nonzero(scores > self.params.min_score)[:, 0]
        target = Target(
            boxes=prediction["boxes"][kept].float(),
            labels=prediction["labels"][kept],
            masks=dense_masks(prediction, kept),
            scores=scores[kept],
        )
        if self.params.ignore_iou is not None:
            target["ignore_iou"] = self.params.ignore_iou
        return target

    def _factor(self, name: str) -> float:
        return 0.0 if "mask" in name and not self.params.mask_loss else 1.0
