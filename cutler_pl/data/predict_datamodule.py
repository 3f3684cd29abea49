"""Images that have no annotations: a file, a folder with all its subfolders, or a list."""

from pathlib import Path

import numpy as np

from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.data.image_datamodule import ImageDataModule, ImageFiles
from cutler_pl.images import list_images


class PredictDataModule(ImageDataModule):
    """Images of a source, numbered from 1 by their sorted relative paths; see `ImageDataModule` for what steps receive.

    Args:
        source: An image, a folder, or a `.txt` list of paths relative to the list's folder.
        batch_size: Images per step and rank.
        num_workers: Loader processes of each rank, at most one per core.
    """

    def __init__(self, source: str | Path, *, batch_size: int = 1, num_workers: int = 4) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.source = source
        self._files: ImageFiles | None = None

    def check(self) -> None:
        """Find the images.

        Raises:
            DatasetNotFoundError: The source is missing or holds no image.
        """
        self.image_files()

    def image_files(self) -> ImageFiles:
        """The images of the source, as first found."""
        if self._files is None:
            root, names = list_images(self.source)
            self._files = ImageFiles(root, PackedStrings.pack(names), np.arange(1, len(names) + 1))
        return self._files
