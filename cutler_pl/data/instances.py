"""Training images with their objects, read and transformed one at a time in the loader's worker processes.

Each draw is named by a `SampleKey`; what comes out depends on it, the seed and the files alone, not on the worker,
the rank or what was read before. Crowd regions are left out. An image that cannot be read is replaced by the next
one of the dataset, and the replacement travels with the sample, so that the main process can count.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import Dataset

from cutler_pl.coco.index import InstanceIndex
from cutler_pl.data.image_io import Failure
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.transforms import apply_boxes, apply_image, apply_mask, sample_params
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_oriented
from cutler_pl.ops.boxes import nonempty, xywh_to_xyxy
from cutler_pl.runtime.reproducibility import generator
from cutler_pl.types import ImageTensor, Target

MAX_TRIES = 10


class Sample(NamedTuple):
    """One training image; `image` and `target` are None where `MAX_TRIES` images in a row were unreadable."""

    step: int
    image: ImageTensor | None
    target: Target | None
    failures: tuple[Failure, ...] = ()


class TrainBatch(NamedTuple):
    """What leaves the training loader. `TrainDataModule` turns it into `(images, targets)` on the device."""

    images: list[ImageTensor]
    targets: list[Target]
    step: int
    failures: list[Failure]


class InstanceDataset(Dataset[Sample]):
    """Images of an index, each in a random view.

    Args:
        index: Annotations.
        root: Image folder.
        chosen: Numbers of the images to use.
        labels: Label, from 1, of each category id.
        train_sizes: Lengths of the shorter side to draw from.
        max_size: Cap of the longer side.
        flip_probability: How often an image is mirrored.
        seed: Seed of all draws.
    """

    def __init__(
        self,
        index: InstanceIndex,
        root: Path,
        *,
        chosen: Int64[np.ndarray, " chosen"],
        labels: Mapping[int, int],
        train_sizes: Sequence[int],
        max_size: int,
        flip_probability: float,
        seed: int,
    ) -> None:
        self.index = index
        self.root = root
        self.chosen = chosen
        self.labels = dict(labels)
        self.train_sizes = tuple(train_sizes)
        self.max_size = max_size
        self.flip_probability = flip_probability
        self.seed = seed

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: SampleKey) -> Sample:
        failures: list[Failure] = []
        for attempt in range(MAX_TRIES):
            place = (key.image_index + attempt) % len(self)
            number = int(self.chosen[place])
            try:
                image, target = self._read(number, generator(self.seed, key.epoch, place))
            except ImageReadError as error:
                failures.append(Failure(self.index.file_names[number], str(error)))
            else:
                return Sample(key.step, image, target, tuple(failures))
        return Sample(key.step, None, None, tuple(failures))

    def _read(self, number: int, draws: torch.Generator) -> tuple[ImageTensor, Target]:
        objects = self.index.objects(number)
        use = [i for i in range(len(objects.is_crowd)) if not objects.is_crowd[i]]
        segmentations = [objects.segmentations[i] for i in use]
        pixels = read_oriented(
            self.root / self.index.file_names[number],
            self.index.size_hw(number),
            exchangeable=not any(isinstance(segmentation, dict) for segmentation in segmentations),
        )
        size_hw = pixels.shape[0], pixels.shape[1]
        view = sample_params(
            size_hw,
            train_sizes=self.train_sizes,
            max_size=self.max_size,
            flip_probability=self.flip_probability,
            generator=draws,
        )
        boxes = apply_boxes(xywh_to_xyxy(objects.boxes_xywh[use]), size_hw, view)
        masks = np.zeros((len(use), *view.size_hw), dtype=bool)
        for i, segmentation in enumerate(segmentations):
            if segmentation is not None:
                masks[i] = apply_mask(segmentation, size_hw, view)
        target = _target(boxes, masks, [self.labels[int(c)] for c in objects.category_ids[use]])
        target["image_id"] = int(self.index.image_ids[number])
        return torch.from_numpy(apply_image(pixels, view)).permute(2, 0, 1).contiguous(), target


def collate(samples: Sequence[Sample]) -> TrainBatch:
    """Join samples into a batch; those without an image leave their failures only."""
    return TrainBatch(
        images=[sample.image for sample in samples if sample.image is not None],
        targets=[sample.target for sample in samples if sample.target is not None],
        step=samples[0].step,
        failures=[failure for sample in samples for failure in sample.failures],
    )


def collate_plain(samples: Sequence[Sample]) -> tuple[list[ImageTensor], list[Target]]:
    """Join samples into images and targets."""
    batch = collate(samples)
    return batch.images, batch.targets


def _target(boxes: np.ndarray, masks: np.ndarray, labels: list[int]) -> Target:
    """Objects that still have a box and a mask."""
    boxes_xyxy = torch.from_numpy(boxes.astype(np.float32))
    keep = nonempty(boxes_xyxy, min_side=1e-5) & torch.from_numpy(masks.any(axis=(1, 2)))
    return {
        "boxes": boxes_xyxy[keep],
        "labels": torch.tensor(labels, dtype=torch.int64)[keep],
        "masks": torch.from_numpy(masks)[keep],
    }
