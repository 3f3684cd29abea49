"""How labels are written."""

from dataclasses import dataclass, replace
from typing import Literal

from cutler_pl.runtime.ranges import check_fields
from cutler_pl.runtime.version import VERSION

FormatName = Literal["coco", "yolo"]
"""The tools that labels are written for."""
MaskForm = Literal["rle", "polygons"]
ImageFiles = Literal["link", "copy", "none"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export of labels; each format reads those it has a use for.

    Attributes:
        masks: Pixels, or polygons along their edges, in which holes are bridged.
        image_files: What is put beside the labels of a format that wants its images there.

    Raises:
        ConfigError: A value is none of those.
    """

    masks: MaskForm = "rle"
    image_files: ImageFiles = "link"

    def __post_init__(self) -> None:
        check_fields(self)

    def without_images(self) -> "ExportOptions":
        """The same, for images that lie in their place."""
        return replace(self, image_files="none")


PRODUCER = f"cutler_pl {VERSION}"
"""What the files say they were written by."""
