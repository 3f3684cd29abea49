"""The image files that annotations name, and their sizes from the header."""

from pathlib import Path

from cutler_pl.coco.file_names import leads_out
from cutler_pl.datasets.converters.records import ImageRecord, SkippedRecord
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image_size
from cutler_pl.runtime.files import is_file

SizeHW = tuple[int, int]
SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".JPEG", ".PNG")


class ImageFolder:
    """The images of one dataset; `root` is None where they are not checked."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._suffix, self._cut = SUFFIXES[0], 0

    def find_stem(self, stem: str) -> str | None:
        """File name of the image with this stem and any suffix; `<stem>.jpg` where images are not checked."""
        if self.root is None:
            return f"{stem}{SUFFIXES[0]}"
        for suffix in (self._suffix, *SUFFIXES):  # the next image most likely has the same
            if not leads_out(self.root, stem) and is_file(self.root / f"{stem}{suffix}"):
                self._suffix = suffix
                return f"{stem}{suffix}"
        return None

    def find_path(self, file_name: str) -> str | None:
        """Longest ending of a path that is a file in the folder, since downloads differ in their upper folders."""
        if self.root is None:
            return file_name
        parts = file_name.split("/")
        for cut in (min(self._cut, len(parts) - 1), *range(len(parts))):
            name = "/".join(parts[cut:])
            if name and not leads_out(self.root, name) and is_file(self.root / name):
                self._cut = cut
                return name
        return None

    def record(
        self, id_: int, name: str | None, *, item: str, sought: str, prefix: str = "", size_hw: SizeHW | None = None
    ) -> ImageRecord | SkippedRecord:
        """Record of an image, of the upright size in its header; as annotated where images are not checked.

        Args:
            id_: Image id.
            name: File name, from `find_stem` or `find_path`.
            item: File and position of its annotation.
            sought: What was looked for, for messages.
            prefix: Start of the file name in the COCO file.
            size_hw: Annotated height and width, which the image must have; None for any.
        """
        if name is None:
            return SkippedRecord("image", "image missing", f"{item}: no image {sought} in {self.root}")
        annotated_hw = size_hw
        if self.root is not None:
            try:
                size_hw = read_image_size(self.root / name)
            except ImageReadError as error:
                return SkippedRecord("image", "image not readable", str(error))
        if size_hw is None:
            return SkippedRecord("image", "no image size", f"{item}: the size is missing or no number")
        if annotated_hw not in (None, size_hw):
            item = f"{item}: annotated {annotated_hw}, the image has {size_hw} (height, width)"
            return SkippedRecord("image", "image size mismatch", item)
        return ImageRecord(id_, prefix + name, *size_hw)
