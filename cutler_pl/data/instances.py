"""Training images with their objects, read and transformed one at a time in the loader's worker processes.

A sample depends on its `SampleKey`, the seed and the files alone, not on the worker, the rank or earlier samples. Crowd
regions are left out. An image that cannot be read is replaced by the next one of the dataset; the sample carries the
failure, so that the main process can count it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from cutler_pl.coco.failures import Failure
from cutler_pl.data.pixel_confidence import draw_confidence
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams, apply_boxes, apply_image, apply_masks, sample_params
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_oriented
from cutler_pl.ops.boxes import nonempty, xywh_to_xyxy
from cutler_pl.runtime.seeding import generator
from cutler_pl.types import ImageTensor, Target

MAX_TRIES = 10


class Sample(NamedTuple):
    """One training image; `image` and `target` are None where `MAX_TRIES` images in a row were unreadable."""

    key: SampleKey
    image: ImageTensor | None
    target: Target | None
    failures: tuple[Failure, ...] = ()


class InstanceBatch(NamedTuple):
    """What leaves the training loader. `TrainDataModule` turns it into `(images, targets)` on the device."""

    images: list[ImageTensor]
    targets: list[Target]
    step: int
    place: int
    """Position of the first image in the global batch of the step."""
    failures: list[Failure]


@dataclass(eq=False)
class InstanceDataset(Dataset[Sample]):
    """Images of a training set, each with a random resize and flip that depend on `seed`."""

    training_set: TrainingSet
    transforms: TrainTransformParams
    seed: int

    def __len__(self) -> int:
        return len(self.training_set.chosen)

    def __getitem__(self, key: SampleKey) -> Sample:
        failures: list[Failure] = []
        for attempt in range(MAX_TRIES):
            position = (key.image_index + attempt) % len(self)
            image_index = int(self.training_set.chosen[position])
            try:
                image, target = self._read(image_index, generator(self.seed, key.epoch, position))
            except ImageReadError as error:
                failures.append(Failure(self.training_set.index.file_names[image_index], str(error)))
            else:
                return Sample(key, image, target, tuple(failures))
        return Sample(key, None, None, tuple(failures))

    def _read(self, image_index: int, rng: torch.Generator) -> tuple[ImageTensor, Target]:
        index = self.training_set.index
        objects = index.objects(image_index)
        counted = np.flatnonzero(~objects.is_crowd)
        segmentations = [objects.segmentations[i] for i in counted]
        pixels = read_oriented(
            Path(self.training_set.images) / index.file_names[image_index],
            index.size_hw(image_index),
            exchangeable=not any(isinstance(segmentation, dict) for segmentation in segmentations),
        )
        size_hw = pixels.shape[0], pixels.shape[1]
        params = sample_params(size_hw, self.transforms, rng)
        boxes = torch.from_numpy(apply_boxes(xywh_to_xyxy(objects.boxes_xywh[counted]), size_hw, params)).float()
        drawable = {i: segmentations[i] for i in torch.nonzero(nonempty(boxes, min_side=1e-5))[:, 0].tolist()}
        drawable = {i: segmentation for i, segmentation in drawable.items() if segmentation is not None}
        masks, is_drawn = apply_masks([*drawable.values()], size_hw, params)
        visible = np.array([*drawable], dtype=np.int64)[is_drawn]
        label_of = self.training_set.labels
        labels = [label_of[id_] for id_ in objects.category_ids[counted[visible]].tolist()]
        target: Target = {
            "boxes": boxes[visible],
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": masks,
            "scores": torch.from_numpy(self.training_set.scores(objects)[counted[visible]]),
            "image_id": int(index.image_ids[image_index]),
        }
        if found := {
            k: objects.confidences[i] for k, i in enumerate(counted[visible].tolist()) if i in objects.confidences
        }:
            target["confidence"] = draw_confidence(found, len(visible), size_hw, params)
        return apply_image(torch.from_numpy(pixels).permute(2, 0, 1), params).contiguous(), target


def collate(samples: Sequence[Sample]) -> InstanceBatch:
    """Join samples into a batch; those without an image leave their failures only."""
    return InstanceBatch(
        images=[sample.image for sample in samples if sample.image is not None],
        targets=[sample.target for sample in samples if sample.target is not None],
        step=samples[0].key.step,
        place=samples[0].key.place,
        failures=[failure for sample in samples for failure in sample.failures],
    )


def collate_plain(samples: Sequence[Sample]) -> tuple[list[ImageTensor], list[Target]]:
    """Join samples into images and targets."""
    batch = collate(samples)
    return batch.images, batch.targets
