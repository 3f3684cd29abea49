"""Images that have no annotations: files, folders with all their subfolders, patterns, or lists."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.data.image_datamodule import ImageDataModule, ImageFiles
from cutler_pl.media.sources import Source, Sources, find_sources
from cutler_pl.runtime.ranges import Count


class PredictDataModule(ImageDataModule):
    """Images numbered from 1 by their sorted relative paths; batches and settings are those of `ImageDataModule`.

    Args:
        source: What `find_sources` takes or has found; its videos are left out.
    """

    def __init__(
        self, source: Source | Sequence[Source] | Sources, *, batch_size: Count = 1, num_workers: int = 4
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.source = source

    @cached_property
    def _files(self) -> ImageFiles:
        found = self.source if isinstance(self.source, Sources) else find_sources(self.source)
        return ImageFiles(found.root, PackedStrings.pack(found.images), np.arange(1, len(found.images) + 1))

    def check(self) -> None:
        """Find the images.

        Raises:
            DatasetNotFoundError: The source is missing or holds no image.
        """
        self.image_files()

    def image_files(self) -> ImageFiles:
        """The images of the source, as first found."""
        return self._files
