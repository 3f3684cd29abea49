"""What ground truth must be for a calibration."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutler_pl.errors import AnnotationError
from cutler_pl.images import read_image_size


def check_masks(coco: Any, *, source: str | Path) -> None:
    """Make sure that every image stands once and every object has a mask.

    Raises:
        AnnotationError: It is not so.
    """
    name, count = max(Counter(image["file_name"] for image in coco["images"]).items(), key=lambda one: one[1])
    if count > 1:
        raise AnnotationError(f"{source}: the image {name} stands {count} times; leave one of them")
    if without := [one["id"] for one in coco["annotations"] if not one.get("segmentation")]:
        raise AnnotationError(
            f"{source}: {len(without)} objects have no mask, such as annotation {without[0]}, and masks are compared; "
            "give a file with masks"
        )


def check_sizes(root: Path, coco: Any, names: Sequence[str], *, source: str | Path) -> None:
    """Make sure that images have the sizes that the annotations say.

    Args:
        root: Folder of the images.
        coco: COCO content.
        names: The images that are looked at.
        source: Name of the content, for messages.

    Raises:
        AnnotationError: An image has another size.
        ImageReadError: An image cannot be read.
    """
    sizes_hw = {image["file_name"]: (image["height"], image["width"]) for image in coco["images"]}
    for name in names:
        height, width = read_image_size(root / name)
        if (height, width) != sizes_hw[name]:
            says = "{}×{}".format(*reversed(sizes_hw[name]))
            raise AnnotationError(
                f"{source}: says that {name} has {says} pixels (width×height), and it has {width}×{height}; give the "
                "annotations of these images"
            )
