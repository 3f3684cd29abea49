"""Images that have no annotations: a file, a folder with all its subfolders, or a list."""

from functools import cached_property
from pathlib import Path

import numpy as np

from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.data.image_datamodule import ImageDataModule, ImageFiles
from cutler_pl.images import list_images
from cutler_pl.runtime.ranges import Count


class PredictDataModule(ImageDataModule):
    """Images numbered from 1 by their sorted relative paths; batches and settings are those of `ImageDataModule`.

    Args:
        source: An image, a folder, or a `.txt` list of paths relative to the list's folder.
    """

    def __init__(self, source: str | Path, *, batch_size: Count = 1, num_workers: int = 4) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.source = source

    @cached_property
    def _files(self) -> ImageFiles:
        root, names = list_images(self.source)
        return ImageFiles(root, PackedStrings.pack(names), np.arange(1, len(names) + 1))

    def check(self) -> None:
        """Find the images.

        Raises:
            DatasetNotFoundError: The source is missing or holds no image.
        """
        self.image_files()

    def image_files(self) -> ImageFiles:
        """The images of the source, as first found."""
        return self._files
