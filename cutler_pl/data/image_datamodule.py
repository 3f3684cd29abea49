"""Images at their own size, each once: what validation, evaluation and prediction read.

Rank r of n reads images r, r + n, … of those to be done; none is read twice, so that ranks may differ by one image.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import BatchSampler, DataLoader, Dataset

from cutler_pl.coco.failures import Failure, Failures
from cutler_pl.data.loader import SizedLoader, loader_settings, sendable_zeros
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image, read_oriented
from cutler_pl.runtime.distributed import global_rank, world_size
from cutler_pl.runtime.ranges import Count, check_arguments
from cutler_pl.types import ImageTensor


class ImageMeta(NamedTuple):
    """Identity of an image; height and width are those of its pixels."""

    image_id: int
    file_name: str
    height: int
    width: int


Item = tuple[ImageTensor, ImageMeta] | Failure
ImagesAndMeta = tuple[list[ImageTensor], list[ImageMeta]]


@dataclass(eq=False)
class ImageFiles(Dataset[Item]):
    """Image files, by their paths relative to a root; `sizes_hw` is the size each must have, None for any."""

    root: Path
    file_names: Sequence[str]
    image_ids: Int64[np.ndarray, " images"]
    sizes_hw: Int64[np.ndarray, "images 2"] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, number: int) -> Item:
        name = self.file_names[number]
        path = self.root / name
        try:
            if self.sizes_hw is None:
                pixels = read_image(path)
            else:
                height, width = self.sizes_hw[number]
                pixels = read_oriented(path, (int(height), int(width)))
        except ImageReadError as error:
            return Failure(name, str(error))
        image = sendable_zeros(3, *pixels.shape[:2]).copy_(torch.from_numpy(pixels).permute(2, 0, 1))
        return image, ImageMeta(int(self.image_ids[number]), name, *pixels.shape[:2])


class ImageDataModule(L.LightningDataModule, ABC):
    """Base of the datamodules that read images at their own size.

    Steps receive `(images, metas)`: a list of uint8 RGB tensors and a list of `ImageMeta`. Unreadable images are
    recorded in `failures` and left out, so that a batch may be smaller or empty. Images of `done_ids` are left out.
    """

    @check_arguments("")
    def __init__(self, *, batch_size: Count = 1, num_workers: int = 4) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.failures = Failures()
        self.done_ids: Int64[np.ndarray, " done"] = np.empty(0, dtype=np.int64)

    @abstractmethod
    def image_files(self) -> ImageFiles:
        """The images of all ranks."""

    def predict_dataloader(self) -> SizedLoader[ImagesAndMeta]:
        """Batches of this rank's share of the images; an empty one for a rank without images, so that it takes part."""
        dataset = self.image_files()
        to_do = np.flatnonzero(~np.isin(dataset.image_ids, self.done_ids))
        share = to_do[global_rank() :: world_size()].tolist()
        batches: Iterable[list[int]] = BatchSampler(share, self.batch_size, drop_last=False) if share else [[]]
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=list, **loader_settings(self.num_workers))
        return SizedLoader(loader, self._collect)

    val_dataloader = test_dataloader = predict_dataloader

    def _collect(self, items: list[Item]) -> ImagesAndMeta:
        self.failures.add(item for item in items if isinstance(item, Failure))
        read = [item for item in items if not isinstance(item, Failure)]
        return [image for image, _ in read], [meta for _, meta in read]
