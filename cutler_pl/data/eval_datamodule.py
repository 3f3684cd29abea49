"""The images of a COCO file, for validation, evaluation, or prediction on images that have annotations."""

from functools import cached_property
from pathlib import Path

from cutler_pl.coco.index import InstanceIndex, open_index
from cutler_pl.data.image_datamodule import ImageDataModule, ImageFiles
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import is_file
from cutler_pl.runtime.ranges import Count


class EvalDataModule(ImageDataModule):
    """Images with the orientation and ids of a COCO file; batches and settings are those of `ImageDataModule`.

    Args:
        images: Folder that the file names in the annotations are relative to.
        annotations: COCO JSON.
        index_dir: Folder of the annotation index; None: beside the JSON, or temporary where that is read-only.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        batch_size: Count = 1,
        num_workers: int = 4,
        index_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.images = images
        self.annotations = annotations
        self.index_dir = index_dir

    @cached_property
    def index(self) -> InstanceIndex:
        """Annotations; built at the first use."""
        return open_index(self.annotations, index_dir=self.index_dir)

    def check(self, settings: str = "") -> None:
        """Find what is wrong with the data before anything expensive is done.

        Args:
            settings: What the settings `images` and `annotations` are preceded by, for messages.

        Raises:
            DatasetNotFoundError: The image folder, the annotation file or the first image is missing.
            AnnotationError: The annotations are not COCO, invalid, or list no image.
        """
        if not Path(self.annotations).is_file():
            raise DatasetNotFoundError(f"no annotation file {self.annotations}; set {settings}annotations=<json>")
        if not Path(self.images).is_dir():
            raise DatasetNotFoundError(f"no image folder {self.images}; set {settings}images=<folder>")
        if len(self.index) == 0:
            raise AnnotationError(f"{self.annotations}: the file lists no image; set {settings}annotations=<json>")
        self.index.check_names(self.images, self.annotations)
        first = Path(self.images) / self.index.file_names[0]
        if not is_file(first):
            way_out = f"set {settings}images=<folder>, which the file names in {self.annotations} are relative to"
            raise DatasetNotFoundError(f"no image file {first}; {way_out}")

    def prepare_data(self) -> None:
        """Build the index, on one process of each machine."""
        len(self.index)

    def image_files(self) -> ImageFiles:
        """All images that the file lists, with or without annotations."""
        return ImageFiles(Path(self.images), self.index.file_names, self.index.image_ids, self.index.sizes_hw)
