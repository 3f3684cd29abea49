"""CVAT: COCO as its importer takes it, the labels of a task, and a function that runs a detector inside CVAT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.datasets.formats import coco
from cutler_pl.datasets.formats.label_file import LabelFile
from cutler_pl.datasets.formats.options import ExportOptions
from cutler_pl.runtime.files import is_file, write_json, write_text

FILE, LABELS, FUNCTION = "instances_default.json", "cvat_labels.json", "cvat_function.py"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write `instances_default.json`, `cvat_labels.json` and `cvat_function.py`.

    Masks are run lengths of the image's size as numbers, which become masks that can be edited by brush; ids are not 0,
    which CVAT takes for none.
    """
    coco.write_coco(labels, folder / FILE, options, {}, tight_boxes=True, fields=_fields, encode=_as_numbers)
    kind = "mask" if options.masks == "rle" else "polygon"
    names = [category["name"] for category in labels.categories]
    write_json(folder / LABELS, [{"name": name, "type": "any", "attributes": []} for name in names], indent=2)
    checkpoint = options.checkpoint or "cutler_cascade_final"
    if is_file(checkpoint):
        checkpoint = str(Path(checkpoint).resolve())
    write_text(folder / FUNCTION, _FUNCTION.replace("CHOSEN_CHECKPOINT", repr(checkpoint)).replace("CHOSEN_KIND", kind))


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    known = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
    return {name: record[name] for name in known if name in record}


def _as_numbers(mask: RLE) -> dict[str, Any]:
    """Run lengths column by column, background first."""
    return {"size": mask["size"], "counts": rle.counts(mask).tolist()}


_FUNCTION = '''"""Boxes and masks of a cutler_pl detector for CVAT, as an auto-annotation function.

pip install cutler_pl cvat-cli
cvat-cli --server-host <address> --auth <user> task auto-annotate <task id> --function-file cvat_function.py
The task needs the labels of the detector; CUTLER_CHECKPOINT in the environment chooses another one.
"""

import os

import cvat_sdk.auto_annotation as cvataa
from cutler_pl import CutLER
from cvat_sdk.masks import encode_mask

model = CutLER.from_pretrained(os.environ.get("CUTLER_CHECKPOINT", CHOSEN_CHECKPOINT))
spec = cvataa.DetectionFunctionSpec(
    labels=[cvataa.label_spec(name, label, type="mask") for label, name in model.names.items()]
)


def detect(context, image):
    """A mask per object; those without a pixel are left out."""
    threshold = getattr(context, "conf_threshold", None)
    shapes = []
    for found in model.predict(image.convert("RGB"), score_threshold=threshold):
        mask = found.masks[0].numpy()
        if mask.any():
            rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
            label = int(found.labels[0])
            shapes.append(cvataa.shape(label, type="mask", points=encode_mask(mask, box)))
    return shapes
'''
