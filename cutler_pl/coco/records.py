"""COCO records: grouped by image, with sizes corrected, missing fields filled in, as results."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Int, Int64

from cutler_pl.coco import rle
from cutler_pl.coco.file_names import file_name
from cutler_pl.coco.schema import Image, Result
from cutler_pl.coco.validation import InvalidRecords, image_error, mask_size

_Record = TypeVar("_Record", bound=Mapping[str, Any])


def group_by_image(records: Iterable[_Record]) -> dict[int, list[_Record]]:
    """Annotations or results by image id, in their order."""
    groups: dict[int, list[_Record]] = {}
    for record in records:
        groups.setdefault(record["image_id"], []).append(record)
    return groups


def check_images(records: Iterable[Any], invalid: InvalidRecords) -> dict[int, Image]:
    """Valid image records by id, each with a file name.

    Raises:
        AnnotationError: A record is invalid or its id occurs twice, and the rule is to raise.
    """
    images: dict[int, Image] = {}
    for record in records:
        if error := image_error(record):
            invalid.add(error)
        elif record["id"] in images:
            invalid.add(f"image id {record['id']} occurs more than once")
        else:
            images[record["id"]] = with_file_name(record)
    return images


def with_file_name(image: Mapping[str, Any]) -> Image:
    """The same valid record, with the `file_name` that LVIS v1 gives by `coco_url` only."""
    name = file_name(image)
    return cast(Image, image if name == image.get("file_name") else {**image, "file_name": name})


def fix_swapped_sizes(images: dict[int, Image], annotations: list[dict[str, Any]]) -> int:
    """Swap width and height of the records that contradict their masks, by `swapped_sizes`; return how many."""
    position = {image_id: i for i, image_id in enumerate(images)}
    swapped = swapped_sizes(
        np.array([(image["height"], image["width"]) for image in images.values()], dtype=np.int64).reshape(-1, 2),
        np.array([position[annotation["image_id"]] for annotation in annotations], dtype=np.int64),
        np.array([mask_size(annotation) or (0, 0) for annotation in annotations], dtype=np.int64).reshape(-1, 2),
    )
    for image_id, is_swapped in zip(list(images), swapped.tolist(), strict=True):
        if is_swapped:
            image = images[image_id]
            images[image_id] = cast(Image, {**image, "height": image["width"], "width": image["height"]})
    return int(swapped.sum())


def swapped_sizes(
    sizes_hw: Int64[np.ndarray, "images 2"],
    owners: Int[np.ndarray, " objects"],
    mask_sizes_hw: Int[np.ndarray, "objects 2"],
) -> Bool[np.ndarray, " images"]:
    """Which images have width and height swapped; see `SizeEvidence`.

    Args:
        sizes_hw: Height and width of each image.
        owners: Position of each object's image.
        mask_sizes_hw: Height and width of each object's run-length mask; 0, 0 without one.
    """
    evidence = SizeEvidence(sizes_hw)
    evidence.add(owners, mask_sizes_hw)
    return evidence.swapped()


class SizeEvidence:
    """What masks tell of the sizes of their images, collected in parts.

    Swapped are images with masks of the swapped size and none of their own. Where all images that can be judged are
    swapped, so are those without annotations.
    """

    def __init__(self, sizes_hw: Int64[np.ndarray, "images 2"]) -> None:
        self._sizes_hw = sizes_hw
        self._masked, self._fits, self._fits_swapped, self._annotated = np.zeros((4, len(sizes_hw)), dtype=bool)

    def add(self, owners: Int[np.ndarray, " objects"], mask_sizes_hw: Int[np.ndarray, "objects 2"]) -> None:
        """Take objects, as of `swapped_sizes`."""
        sizes_hw = self._sizes_hw[owners]
        self._annotated[owners] = True
        self._masked[owners[mask_sizes_hw[:, 0] > 0]] = True
        self._fits[owners[(mask_sizes_hw == sizes_hw).all(axis=1)]] = True
        self._fits_swapped[owners[(mask_sizes_hw[:, ::-1] == sizes_hw).all(axis=1)]] = True

    def swapped(self) -> Bool[np.ndarray, " images"]:
        """Whether the size of each image is swapped, by all that was taken."""
        oblong = self._sizes_hw[:, 0] != self._sizes_hw[:, 1]
        swapped: np.ndarray = oblong & self._fits_swapped & ~self._fits
        if swapped.any() and np.array_equal(swapped, oblong & self._masked):
            swapped |= oblong & ~self._annotated
        return swapped


def fill_defaults(annotation: dict[str, Any], image: Image) -> dict[str, Any]:
    """Annotation with `iscrowd` and `area`; the same object if it has both."""
    if "iscrowd" in annotation and "area" in annotation:
        return annotation
    area = annotation.get("area")
    if area is None and (segmentation := annotation.get("segmentation")):
        area = float(rle.area(rle.to_rle(segmentation, image["height"], image["width"])))
    elif area is None:
        area = float(annotation["bbox"][2] * annotation["bbox"][3])
    return {**annotation, "iscrowd": annotation.get("iscrowd", 0), "area": area}


def to_result(record: Mapping[str, Any], image: Image) -> Result:
    """Detection with a compressed mask, and the mask's tight box where it has none."""
    result: dict[str, Any] = {key: record.get(key) for key in ("image_id", "category_id", "bbox", "score")}
    if segmentation := record.get("segmentation"):
        result["segmentation"] = mask = rle.to_rle(segmentation, image["height"], image["width"])
        if result["bbox"] is None:
            result["bbox"] = rle.bbox(mask)
    return cast(Result, result)
