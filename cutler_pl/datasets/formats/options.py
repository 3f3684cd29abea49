"""How labels are written."""

from dataclasses import dataclass, replace
from typing import Literal

from cutler_pl.runtime.ranges import check_fields
from cutler_pl.runtime.version import VERSION

FormatName = Literal["coco", "yolo", "cvat", "labelstudio", "labelme", "fiftyone"]
"""The tools that labels are written for."""
MaskForm = Literal["rle", "polygons"]
ImageFiles = Literal["link", "copy", "none"]
PRODUCER = f"cutler_pl {VERSION}"
"""What the files say they were written by."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export of labels; each format reads those it has a use for.

    Attributes:
        masks: Pixels, or polygons along their edges, in which holes are bridged.
        image_files: What YOLO has beside its labels.
        image_data: Put the images into LabelMe's files.
        image_url: What Label Studio finds an image under, before its file name.
        model_version: What Label Studio calls the predictions; this package by default.
        checkpoint: Detector of the function for CVAT; the released cascade by default.

    Raises:
        ConfigError: A value is none of those.
    """

    masks: MaskForm = "rle"
    image_files: ImageFiles = "link"
    image_data: bool = False
    image_url: str = "/data/local-files/?d="
    model_version: str | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def without_images(self) -> "ExportOptions":
        """The same, for images that lie in their place."""
        return replace(self, image_files="none")
