"""The image files that annotations name, and their sizes from the header."""

from pathlib import Path

from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image_size

SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".JPEG", ".PNG")


class ImageFolder:
    """The images of one dataset.

    Args:
        root: Their folder; None where images are not checked.
    """

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._suffixes = list(SUFFIXES)
        self._cut = 0

    def find_stem(self, stem: str) -> str | None:
        """File name of the image with this stem and any suffix; `<stem>.jpg` where images are not checked."""
        if self.root is None:
            return f"{stem}{SUFFIXES[0]}"
        for suffix in self._suffixes:
            if (self.root / f"{stem}{suffix}").is_file():
                if suffix != self._suffixes[0]:  # the next one most likely has the same
                    self._suffixes.insert(0, self._suffixes.pop(self._suffixes.index(suffix)))
                return f"{stem}{suffix}"
        return None

    def find_path(self, file_name: str) -> str | None:
        """Longest ending of a path that is a file in the folder, since downloads differ in their upper folders."""
        if self.root is None:
            return file_name
        parts = file_name.split("/")
        for cut in (min(self._cut, len(parts) - 1), *range(len(parts))):
            name = "/".join(parts[cut:])
            if (self.root / name).is_file():
                self._cut = cut
                return name
        return None

    def size_hw(self, name: str) -> tuple[int, int] | str | None:
        """Upright height and width, the reason why the file is unreadable, or None where images are not checked."""
        if self.root is None:
            return None
        try:
            return read_image_size(self.root / name)
        except ImageReadError as error:
            return str(error)
