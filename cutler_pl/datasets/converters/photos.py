"""Finding the photos that annotations speak of, and reading their sizes from the header."""

from pathlib import Path

from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image_size

SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".JPEG", ".PNG")


class ImageFolder:
    """The photos of one download.

    Args:
        folder: Where they lie; None where photos are not looked at.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._suffixes = list(SUFFIXES)
        self._cut = 0

    def name_of(self, stem: str) -> str | None:
        """File name of the photo with this stem, whatever its suffix; `<stem>.jpg` where photos are not looked at."""
        if self.folder is None:
            return f"{stem}{SUFFIXES[0]}"
        for suffix in self._suffixes:
            if (self.folder / f"{stem}{suffix}").is_file():
                if suffix != self._suffixes[0]:  # the next one will most likely end in the same
                    self._suffixes.insert(0, self._suffixes.pop(self._suffixes.index(suffix)))
                return f"{stem}{suffix}"
        return None

    def place_of(self, file_name: str) -> str | None:
        """The longest end of a path that is a file in the folder, since downloads differ in their upper folders."""
        if self.folder is None:
            return file_name
        parts = file_name.split("/")
        for cut in (min(self._cut, len(parts) - 1), *range(len(parts))):
            name = "/".join(parts[cut:])
            if (self.folder / name).is_file():
                self._cut = cut
                return name
        return None

    def size_of(self, name: str) -> tuple[int, int] | str | None:
        """(height, width) of the upright photo, the reason why it cannot be read, or None if photos are not read."""
        if self.folder is None:
            return None
        try:
            return read_image_size(self.folder / name)
        except ImageReadError as error:
            return str(error)
