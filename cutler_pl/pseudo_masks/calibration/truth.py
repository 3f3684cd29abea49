"""What ground truth must be for a calibration."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutler_pl.coco.io import load_coco
from cutler_pl.errors import AnnotationError
from cutler_pl.images import read_image_size
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def read_truth(annotations: str | Path, images: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """The ground truth of the images that are there.

    Args:
        annotations: COCO file.
        images: Their folder, for messages.
        names: Of the images in it.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The annotations are invalid, not of these images, or hold nothing to compare with.
    """
    coco = load_coco(annotations, way_out="repair it").coco
    check_masks(coco, source=annotations)
    there = set(names)
    found = [image for image in coco["images"] if image["file_name"] in there]
    if not found:
        raise AnnotationError(
            f"{annotations}: none of its {len(coco['images'])} images is in {images}; give images=, the folder that "
            "its file names are relative to"
        )
    log.info("%s: %d of its %d images are there", annotations, len(found), len(coco["images"]))
    ids = {image["id"] for image in found}
    if not any(one["image_id"] in ids for one in coco["annotations"]):
        raise AnnotationError(f"{annotations}: none of its images in {images} has an object; label some of them")
    return {**coco, "images": found}


def check_masks(coco: Any, *, source: str | Path) -> None:
    """Make sure that every image stands once and every object has a mask.

    Raises:
        AnnotationError: It is not so.
    """
    counts = Counter(image["file_name"] for image in coco["images"])
    if several := next((name for name, count in counts.items() if count > 1), None):
        raise AnnotationError(f"{source}: the image {several} stands {counts[several]} times; leave one of them")
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
