"""Label Studio: tasks with predictions, and the labeling interface that they are for.

Its importer of COCO takes boxes and polygons only, so that masks come as run lengths of a brush.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from cutler_pl.coco.outlines import Crop, crops, rings
from cutler_pl.coco.schema import Annotation, Image
from cutler_pl.coco.stream import list_writer
from cutler_pl.datasets.formats.brush import encode_brush
from cutler_pl.datasets.formats.label_file import LabeledImage, LabelFile, clipped_box
from cutler_pl.datasets.formats.options import PRODUCER, ExportOptions
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.files import write_text

TASKS, CONFIG = "tasks.json", "label_config.xml"
_MASKS, _POLYGONS, _BOXES = "masks", "polygons", "boxes"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write `tasks.json` and `label_config.xml`.

    Raises:
        AnnotationError: A class name has a character that XML cannot hold.
    """
    names = {category["id"]: category["name"] for category in labels.categories}
    write_text(folder / CONFIG, _interface(list(names.values()), labels.source))
    with (folder / TASKS).open("w", encoding="ascii", newline="\n") as file:
        file.write("[")
        put = list_writer(file)
        for image in labels.without_crowds():
            results = _results(image, names, options)
            scores = [record["score"] for record, _ in image.objects if "score" in record]
            prediction: dict[str, Any] = {"model_version": options.model_version or PRODUCER, "result": results}
            if scores:
                prediction["score"] = sum(scores) / len(scores)
            url = options.image_url + quote(image.record["file_name"], errors="surrogateescape")
            put({"data": {"image": url}, "predictions": [prediction]})
        file.write("]\n")


def _results(image: LabeledImage, names: dict[int, str], options: ExportOptions) -> list[dict[str, Any]]:
    found = iter(crops([mask for _, mask in image.objects if mask]))
    results: list[dict[str, Any]] = []
    for record, mask in image.objects:
        name = [names[record["category_id"]]]
        crop = next(found) if mask else None
        if crop is None:
            regions = [(_BOXES, {**_box(image.record, record), "rectanglelabels": name})]
        elif options.masks == "rle":
            packed = encode_brush(crop, image.record["height"], image.record["width"])
            regions = [(_MASKS, {"format": "rle", "rle": packed, "brushlabels": name})]
        else:
            regions = [(_POLYGONS, {**polygon, "polygonlabels": name}) for polygon in _polygons(image.record, crop)]
        for kind, value in regions:
            result = {
                "id": f"r{len(results) + 1}",
                "type": {_MASKS: "brushlabels", _POLYGONS: "polygonlabels", _BOXES: "rectanglelabels"}[kind],
                "from_name": kind,
                "to_name": "image",
                "original_width": image.record["width"],
                "original_height": image.record["height"],
                "image_rotation": 0,
                "value": value,
            }
            results.append(result | ({"score": record["score"]} if "score" in record else {}))
    return results


def _box(image: Image, record: Annotation) -> dict[str, float]:
    """In percent of the image."""
    x0, y0, x1, y1 = clipped_box(image, record)
    width, height = image["width"] / 100, image["height"] / 100
    return {
        "x": x0 / width, "y": y0 / height, "width": (x1 - x0) / width, "height": (y1 - y0) / height, "rotation": 0
    }  # fmt: skip


def _polygons(image: Image, crop: Crop) -> list[dict[str, Any]]:
    """In percent of the image, a polygon per part."""
    width, height = image["width"] / 100, image["height"] / 100
    return [{"points": [[x / width, y / height] for x, y in ring.tolist()], "closed": True} for ring in rings(crop)]


def _interface(names: list[str], source: Path) -> str:
    for name in names:
        if any(character < " " and character not in "\t\n\r" for character in name):
            raise AnnotationError(f"{source}: the category {name!r} has a control character; rename it")
    escaped = [quoteattr(name, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}) for name in names]
    options = "".join(f"    <Label value={name}/>\n" for name in escaped)
    kinds = {"BrushLabels": _MASKS, "PolygonLabels": _POLYGONS, "RectangleLabels": _BOXES}
    groups = "".join(f'  <{tag} name="{name}" toName="image">\n{options}  </{tag}>\n' for tag, name in kinds.items())
    return f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n{groups}</View>\n'
