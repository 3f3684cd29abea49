"""COCO: ids from 1, masks as compressed run lengths or as polygons."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cutler_pl.coco.outlines import crops, rings
from cutler_pl.coco.schema import RLE
from cutler_pl.coco.stream import writing_coco
from cutler_pl.datasets.formats.label_file import LabelFile
from cutler_pl.datasets.formats.options import PRODUCER, ExportOptions

FILE = "annotations.json"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write one file; annotations are counted from 1, and so are images or categories of which one has an id below 1.

    Records keep their other fields; crowd regions have run lengths, which is all that COCO has for them.
    """
    header = {"info": {"description": f"exported by {PRODUCER}"}, **labels.header}
    write_coco(labels, folder / FILE, options, header, lambda record: record)


def write_coco(
    labels: LabelFile,
    path: Path,
    options: ExportOptions,
    header: Mapping[str, Any],
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    encode: Callable[[RLE], Any] = lambda mask: mask,
) -> None:
    """Write one file.

    Args:
        labels: What is written.
        path: The file.
        options: Form of the masks.
        header: All but images and annotations; the categories are made here.
        fields: What is kept of an annotation.
        encode: Run lengths as the file is to have them.
    """
    categories = numbered(category["id"] for category in labels.categories)
    header = {**header, "categories": [{**c, "id": categories[c["id"]]} for c in labels.categories]}
    image_ids = numbered(image["id"] for image in labels.images())
    number = 0
    with writing_coco(path, header) as coco:
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
                given["id"] = number
                given["image_id"] = image_ids[record["image_id"]]
                given["category_id"] = categories[record["category_id"]]
                coco.annotation(given)


def numbered(ids: Iterable[int]) -> dict[int, int]:
    """New id by old id: the same, or counted from 1 where one of them is below."""
    found = list(ids)
    return dict(zip(found, range(1, len(found) + 1) if min(found, default=1) < 1 else found, strict=True))
