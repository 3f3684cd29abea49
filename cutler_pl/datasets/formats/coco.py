"""COCO: ids from 1, masks as run lengths or as polygons."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cutler_pl.coco import rle
from cutler_pl.coco.outlines import crops, rings
from cutler_pl.coco.schema import RLE, Annotation
from cutler_pl.coco.stream import writing_coco
from cutler_pl.datasets.formats.label_file import LabelFile
from cutler_pl.datasets.formats.options import PRODUCER, ExportOptions

FILE = "annotations.json"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write one file; annotations are counted from 1, and so are images or categories of which one has an id below 1.

    Records keep their other fields; crowd regions have run lengths, which is all that COCO has for them.
    """
    write_coco(labels, folder / FILE, options, header(labels))


def header(labels: LabelFile) -> dict[str, Any]:
    """All but images, annotations and categories, as it was given."""
    return {"info": {"description": f"exported by {PRODUCER}"}, **labels.header}


def write_coco(
    labels: LabelFile,
    path: Path,
    options: ExportOptions,
    header: Mapping[str, Any],
    *,
    fields: Callable[[Annotation], Mapping[str, Any]] = lambda record: record,
    encode: Callable[[RLE], Any] = lambda mask: mask,
    tight_boxes: bool = False,
) -> None:
    """Write one file.

    Args:
        labels: What is written.
        path: The file.
        options: Form of the masks.
        header: What else the file has.
        fields: What is kept of an annotation.
        encode: Run lengths as the file is to have them.
        tight_boxes: Boxes are the extents of the masks, whatever boxes the annotations have.
    """
    categories = numbered(category["id"] for category in labels.categories)
    image_ids = numbered(image["id"] for image in labels.images())
    named = [{**category, "id": categories[category["id"]]} for category in labels.categories]
    number = 0
    with writing_coco(path, {**header, "categories": named}) as coco:
        for image in labels:
            coco.image({**image.record, "id": image_ids[image.record["id"]]})
            masks = [found.mask for found in image.objects if found.mask]
            outline = iter(crops(masks) if options.masks == "polygons" else ())
            for record, mask in image.objects:
                number += 1
                given = dict(fields(record))
                crop = next(outline, None) if mask else None
                if mask is None:
                    given.pop("segmentation", None)
                elif crop is None or record["iscrowd"]:
                    given["segmentation"] = encode(mask)
                elif not isinstance(record["segmentation"], list):
                    given["segmentation"] = [ring.reshape(-1).tolist() for ring in rings(crop)]
                if mask is not None and tight_boxes:
                    given["bbox"] = rle.bbox(mask)
                given["id"] = number
                given["image_id"] = image_ids[record["image_id"]]
                given["category_id"] = categories[record["category_id"]]
                coco.annotation(given)


def numbered(ids: Iterable[int]) -> dict[int, int]:
    """New id by old id: the same, or counted from 1 where one of them is below."""
    found = list(ids)
    return dict(zip(found, range(1, len(found) + 1) if min(found, default=1) < 1 else found, strict=True))
