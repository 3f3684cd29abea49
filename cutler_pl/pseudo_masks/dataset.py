"""Batches of photos for MaskCut, decoded and resized to the fixed square in loader processes.

A batch is always the same run of neighbours in the sorted list of images, whichever process takes it and whatever was
done before: an interrupted run computes on the very same batches as an uninterrupted one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image


class MaskCutBatch(NamedTuple):
    """Photos of a batch that could be read, and why the others could not.

    `pixels` are RGB at the fixed size, `sizes_hw` the photos' own heights and widths; both in the order of `names`.
    """

    pixels: UInt8[Tensor, "batch 3 height width"]
    names: list[str]
    sizes_hw: list[tuple[int, int]]
    failures: dict[str, str]


class MaskCutDataset(Dataset[MaskCutBatch]):
    """The batches of a list of images that have something left to do.

    Args:
        root: Folder of the images.
        names: Relative paths, sorted.
        pending: For each image whether it still has to be done.
        batch_size: Images in a batch.
        fixed_size: Side of the square the photos are resized to.
        part: Index and number of the parts among which the batches are divided, in turn.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        pending: np.ndarray,
        batch_size: int,
        fixed_size: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._root = root
        self._size = (fixed_size, fixed_size)
        self._batch_size = batch_size
        self._pending = pending
        # One block of bytes instead of a million strings: loader processes share it without ever copying it.
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), np.uint8)
        self._should_stop = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        batches = np.arange(-(-len(names) // batch_size))
        mine = batches[part[0] :: part[1]]
        self._batches = mine[[pending[b * batch_size : (b + 1) * batch_size].any() for b in mine]]

    def split(self, rank: int, world_size: int) -> None:
        """Keep only one process's share of the batches."""
        self._batches = self._batches[rank::world_size]

    @property
    def num_photos(self) -> int:
        """Number of images still to be done in these batches."""
        return sum(int(self._pending[self._range(int(batch))].sum()) for batch in self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> MaskCutBatch:
        members = range(len(self._should_stop))[self._range(int(self._batches[index]))]
        names = [self._name(i) for i in members]
        left = {name for name, i in zip(names, members, strict=True) if self._pending[i]}
        batch = self._read([name for name in names if name in left])
        if batch.names and len(left) < len(names):
            return self._read(names)
        return batch

    def _read(self, names: Sequence[str]) -> MaskCutBatch:
        pixels, read, sizes_hw, failures = [], [], [], {}
        for name in names:
            try:
                photo = read_image(self._root / name)
            except ImageReadError as error:
                failures[name] = str(error).removeprefix(f"{self._root / name}: ")
                continue
            except MemoryError:
                failures[name] = "not enough memory to decode the image; shrink it"
                continue
            square = Image.fromarray(photo).resize(self._size, Image.Resampling.LANCZOS)
            pixels.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
            read.append(name)
            sizes_hw.append(photo.shape[:2])
        stacked = torch.stack(pixels) if pixels else torch.empty((0, 3, *self._size), dtype=torch.uint8)
        return MaskCutBatch(stacked, read, sizes_hw, failures)

    def _range(self, batch: int) -> slice:
        return slice(batch * self._batch_size, (batch + 1) * self._batch_size)

    def _name(self, index: int) -> str:
        start = self._should_stop[index - 1] if index else 0
        return os.fsdecode(self._text[start : self._should_stop[index]].tobytes())
