"""Batches of images for MaskCut, decoded and resized to the fixed square in loader processes.

A batch is always the same slice of the sorted list of images: an interrupted run computes on the same batches as an
uninterrupted one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.data.loader import loader_settings
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.ops.tiles import Window, tile_windows
from cutler_pl.pseudo_masks.options import RunOptions


class MaskCutBatch(NamedTuple):
    """Images of a batch that could be read: `pixels` of all tiles in RGB at the fixed size; and the failures."""

    pixels: UInt8[Tensor, "tiles 3 height width"]
    names: list[str]
    sizes_hw: list[tuple[int, int]]
    windows: list[list[Window]]
    """The tiles of each image; a single one for a whole image."""
    previews: list[UInt8[np.ndarray, "_ _ 3"] | None]
    failures: dict[str, str]


class MaskCutDataset(Dataset[MaskCutBatch]):
    """The batches of a list of images that have something left to do.

    Args:
        root: Folder of the images.
        names: Relative paths, sorted.
        is_done: Tells of an image whether nothing is left to do.
        options: Batch size, fixed size, and the part of the batches that is taken: every so many.
        preview_side: Longer side of the previews; None for no previews.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        is_done: Callable[[str], bool],
        options: RunOptions,
        preview_side: int | None = None,
    ) -> None:
        self._root = root
        self._side = options.fixed_size
        self._tiles = options.tiles
        self._batch_size = options.batch_size
        self._preview_side = preview_side
        self._names = PackedStrings.pack(names)  # loader processes share it without ever copying it
        self._pending = np.array([not is_done(name) for name in names])
        starts = range(0, len(names), options.batch_size)[options.shard.index :: options.shard.count]
        self._starts = [start for start in starts if self._pending[self._range(start)].any()]

    def split(self, rank: int, world_size: int) -> None:
        """Keep one process's share of the batches."""
        self._starts = self._starts[rank::world_size]

    @property
    def num_images(self) -> int:
        """Number of images still to be done in these batches."""
        return sum(int(self._pending[self._range(start)].sum()) for start in self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> MaskCutBatch:
        members = self._range(self._starts[index])
        names = self._names[members]
        pending = [name for name, is_pending in zip(names, self._pending[members], strict=True) if is_pending]
        batch = self._read(pending)
        return self._read(names) if batch.names and len(pending) < len(names) else batch

    def _read(self, names: Sequence[str]) -> MaskCutBatch:
        batch = MaskCutBatch(torch.empty((0, 3, self._side, self._side), dtype=torch.uint8), [], [], [], [], {})
        squares = []
        for name in names:
            try:
                pixels = read_image(self._root / name)
            except ImageReadError as error:
                batch.failures[name] = str(error).removeprefix(f"{self._root / name}: ")
                continue
            except MemoryError:
                batch.failures[name] = "not enough memory to decode the image; shrink it"
                continue
            height, width = pixels.shape[:2]
            whole = [Window(0, 0, height, width)]
            windows = whole if self._tiles is None else tile_windows((height, width), self._tiles)
            squares += [resize_to_square(pixels[w.top : w.bottom, w.left : w.right], self._side) for w in windows]
            batch.names.append(name)
            batch.sizes_hw.append((height, width))
            batch.windows.append(windows)
            batch.previews.append(self._preview(pixels))
        return batch._replace(pixels=torch.stack(squares)) if squares else batch

    def _preview(self, pixels: np.ndarray) -> np.ndarray | None:
        if self._preview_side is None:
            return None
        image = Image.fromarray(pixels)
        image.thumbnail((self._preview_side, self._preview_side), Image.Resampling.LANCZOS)
        return np.array(image)

    def _range(self, start: int) -> slice:
        return slice(start, start + self._batch_size)


class MaskCutDataModule(L.LightningDataModule):
    """Divides the batches among the processes and loads them."""

    def __init__(self, batches: MaskCutDataset, *, num_workers: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than processes
        self.batches = batches
        self._num_workers = num_workers

    def setup(self, stage: str) -> None:
        """Take this process's share."""
        assert self.trainer is not None  # Lightning calls this
        self.batches.split(self.trainer.global_rank, self.trainer.world_size)

    def predict_dataloader(self) -> DataLoader[MaskCutBatch]:
        """Batches of this process."""
        # torch's own collation would turn tuples into lists
        return DataLoader(self.batches, batch_size=None, collate_fn=_identity, **loader_settings(self._num_workers))


def _identity(batch: Any) -> Any:
    return batch
