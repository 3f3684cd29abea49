"""Another detector, here torchvision's own Mask R-CNN, behind the project's data, training, losses' log and metrics.

python examples/another_detector.py <images> <annotations.json> <output> [steps [side]]
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from cutler_pl.coco import rle
from cutler_pl.data import EvalDataModule, LoaderParams, TrainDataModule, TrainingSet, TrainTransformParams
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.models.protocol import EncodedPrediction
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PredictionWriter
from cutler_pl.training.optim import sgd
from cutler_pl.types import Target


class TorchvisionMaskRCNN(nn.Module):
    """What `DetectorModule` asks of a detector: images and targets → losses, images → predictions."""

    def __init__(self, num_classes: int = 1, **options: Any) -> None:
        super().__init__()
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
        self.network = MaskRCNN(backbone, num_classes=num_classes + 1, **options)  # torchvision counts the background

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target], *, group_size: int | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch; they are means over it, so `group_size` does not matter."""
        given = [{**target, "masks": target["masks"].to(torch.uint8)} for target in targets]
        losses: dict[str, Tensor] = self.network([image / 255 for image in images], given)
        return losses

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[EncodedPrediction]:
        """Detections in the pixels of each image."""
        found = self.network([image / 255 for image in images])
        return [
            EncodedPrediction(
                boxes=one["boxes"],
                scores=one["scores"],
                labels=one["labels"],
                masks=[rle.encode((mask[0] > 0.5).cpu().numpy()) for mask in one["masks"]],
                size_hw=(image.shape[1], image.shape[2]),
            )
            for one, image in zip(found, images, strict=True)
        ]


def main(images: str, annotations: str, output: str, steps: str = "2000", side: str = "240") -> None:
    """Train it on a COCO file, predict, and measure."""
    L.seed_everything(0, verbose=False)
    data = TrainDataModule(
        TrainingSet(images=images, annotations=annotations, class_agnostic=True, filter_empty=True),
        transforms=TrainTransformParams(train_sizes=(int(side),), max_size=2 * int(side), flip_probability=0.5),
        loader=LoaderParams(batch_size=2, num_workers=0),
    )
    module = DetectorModule(
        TorchvisionMaskRCNN(min_size=int(side), max_size=2 * int(side)),
        optimizer=partial(sgd, lr=0.005, weight_decay=1e-4, per_param_clip_norm=1.0),
        model_config={"category_ids": [1]},
    )
    writer = PredictionWriter(Path(output) / "predictions.json")
    trainer = L.Trainer(
        max_steps=int(steps),
        max_epochs=-1,
        log_every_n_steps=min(20, int(steps)),
        callbacks=[writer],
        logger=False,
        enable_checkpointing=False,
        default_root_dir=output,
    )
    trainer.fit(module, datamodule=data)
    trainer.predict(module, datamodule=EvalDataModule(images, annotations, num_workers=0), return_predictions=False)
    for iou_type, values in evaluate_coco(annotations, writer.path).items():
        print(f"{iou_type}: AP50 {values['AP50']:.1f}  AR100 {values['AR100']:.1f}")


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 6:
        sys.exit(f"usage: {__doc__.splitlines()[2]}")
    main(*sys.argv[1:])
