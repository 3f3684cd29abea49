"""The two halves of `scripts/roundtrip.sh`: labels written by cutler_pl, and read by another library."""

import json
import os
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HEIGHT, WIDTH = 120, 160
NAMES = ['say "cat"', "a <b> & c", "one, two", "two\nlines", "plain"]
FORMS = ("rle", "polygons")


def drawn_masks() -> np.ndarray:
    """Masks of five kinds: an ellipse with holes, parts, one pixel, the whole image, and noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = np.zeros((5, HEIGHT, WIDTH), dtype=bool)
    masks[0] = ((x - 60) / 45) ** 2 + ((y - 50) / 40) ** 2 < 1
    masks[0][(x - 50) ** 2 + (y - 45) ** 2 < 90] = False
    masks[0][70:75, 62:80] = False
    masks[1] = ((x - 120) ** 2 + (y - 30) ** 2 < 200) | ((x - 130) ** 2 + (y - 90) ** 2 < 500)
    masks[2, 17, 31] = True
    masks[3] = True
    masks[4, 40:80, 90:150] = np.random.default_rng(0).random((40, 60)) < 0.7
    return masks


def write(form: str, work: Path) -> None:
    """Two images, the second without an object, and an export for each form of masks."""
    from PIL import Image

    from cutler_pl.coco import rle
    from cutler_pl.datasets.formats import ExportOptions, export_labels

    (work / "images").mkdir()
    images = []
    for number, name in enumerate(("a.png", "b.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(work / "images" / name)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    annotations = []
    for number, mask in enumerate(drawn_masks()):
        encoded = rle.encode(mask)
        record = {"id": number, "image_id": 0, "category_id": number, "iscrowd": 0, "score": 0.5 + number / 10}
        annotations.append({**record, "bbox": rle.bbox(encoded), "area": int(mask.sum()), "segmentation": encoded})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (work / "labels.json").write_text(json.dumps(coco))
    for masks in FORMS:
        options = ExportOptions(masks=masks, checkpoint=str(_detector(work)) if form == "cvat" else None)  # type: ignore[arg-type]
        export_labels(work / "labels.json", work / "images", work / masks, format=form, options=options)


def _detector(work: Path) -> Path:
    """Checkpoint of a small detector that has not been trained."""
    import torch

    from cutler_pl.models import build_detector
    from cutler_pl.models.checkpoint import detector_config

    path = work / "tiny.ckpt"
    if not path.exists():
        torch.manual_seed(0)
        options: dict[str, Any] = {"backbone": "resnet18", "min_size_test": 120, "max_size_test": 160}
        model = build_detector("cascade_mask_rcnn_r50_fpn", 2, **options, max_detections=10)
        state = {f"model.{key}": value for key, value in model.state_dict().items()}
        config = detector_config(model, category_ids=[1, 2], class_names=["cat", "dog"])
        torch.save({"state_dict": state, "model_config": config}, path)
    return path


def read_coco(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By pycocotools."""
    from pycocotools.coco import COCO

    coco = COCO(str(folder / "annotations.json"))
    for record in coco.loadAnns(coco.getAnnIds()):
        yield coco.loadCats(record["category_id"])[0]["name"], coco.annToMask(record).astype(bool)


def read_yolo(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By supervision, whose parser draws polygons with their outline."""
    import supervision

    data = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), force_masks=True
    )
    found = next(entry[2] for entry in data if Path(entry[0]).name == "a.png")
    for number, mask in zip(found.class_id, found.mask, strict=True):
        yield data.classes[number], mask


def read_cvat(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By datumaro, a fork of which is CVAT's importer; the function by cvat_sdk's own types."""
    import datumaro

    tree = folder / "dataset" / "annotations"
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "instances_default.json").write_bytes((folder / "instances_default.json").read_bytes())
    (folder / "dataset" / "images").mkdir(exist_ok=True)
    for image in images.iterdir():
        (folder / "dataset" / "images" / image.name).write_bytes(image.read_bytes())
    dataset = datumaro.Dataset.import_from(str(folder / "dataset"), "coco_instances")
    labels = dataset.categories()[datumaro.AnnotationType.label]
    masks: dict[int, np.ndarray] = {}
    names: dict[int, str] = {}
    for item in dataset:
        for found in item.annotations:
            if found.type == datumaro.AnnotationType.bbox:
                continue
            mask = _filled(found.points) if found.type == datumaro.AnnotationType.polygon else found.image
            masks[found.label] = masks.get(found.label, False) | np.asarray(mask, dtype=bool)
            names[found.label] = labels[found.label].name
    for label in sorted(masks):
        yield names[label], masks[label]


def _filled(points: Any) -> np.ndarray:
    from pycocotools import mask as coco_mask

    (encoded,) = coco_mask.frPyObjects([list(points)], HEIGHT, WIDTH)
    return np.asarray(coco_mask.decode(encoded), dtype=bool)


def call_function(folder: Path, images: Path) -> str:
    """Run CVAT's function with cvat_sdk's types."""
    from PIL import Image

    sys.path += [os.environ["CUTLER_SITE"], str(Path(__file__).resolve().parents[1])]
    function = runpy.run_path(str(folder / "cvat_function.py"))
    labels = [(label.id, label.name) for label in function["spec"].labels]
    context = SimpleNamespace(frame_name="a.png", conf_threshold=0.0)
    shapes = function["detect"](context, Image.open(images / "a.png"))
    assert shapes
    assert {type(shape).__name__ for shape in shapes} == {"LabeledShapeRequest"}
    assert {shape.label_id for shape in shapes} <= {number for number, _ in labels}
    return f"cvat_function.py: spec {labels}, detect gives {len(shapes)} shapes of type {shapes[0].type}"


def read_labelstudio(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By the SDK's converter; polygons, which it does not draw, by Pillow."""
    from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
    from label_studio_sdk.converter.brush import decode_rle
    from PIL import Image, ImageDraw

    controls = parse_config((folder / "label_config.xml").read_text())
    masks: dict[str, np.ndarray] = {}
    for result in json.loads((folder / "tasks.json").read_text())[0]["predictions"][0]["result"]:
        value = result["value"]
        (name,) = value[result["type"]]
        assert name in controls[result["from_name"]]["labels"]
        if result["type"] == "brushlabels":
            mask = np.reshape(decode_rle(value["rle"]), (HEIGHT, WIDTH, 4))[..., 3] > 0
        else:
            drawn = Image.new("1", (WIDTH, HEIGHT))
            scale = WIDTH / 100, HEIGHT / 100
            ImageDraw.Draw(drawn).polygon([(x * scale[0], y * scale[1]) for x, y in value["points"]], fill=1)
            mask = np.array(drawn)
        masks[name] = masks.get(name, False) | mask
    yield from masks.items()


def read_labelme(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By LabelMe's own reader and its drawing of shapes."""
    from labelme import utils
    from labelme._label_file import read_label_file  # type: ignore[attr-defined]

    masks: dict[str, np.ndarray] = {}
    for shape in read_label_file(str(folder / "labelme" / "a.json")).shapes:
        names = {"_background_": 0, shape["label"]: 1}
        drawn, _ = utils.shapes_to_label((HEIGHT, WIDTH), [shape], names)
        masks[shape["label"]] = masks.get(shape["label"], False) | (drawn > 0)
    yield from masks.items()


def read_fiftyone(folder: Path, images: Path) -> Iterator[tuple[str, np.ndarray]]:
    """By the exported loader, or where FiftyOne has no database by the importer that the loader names."""
    import fiftyone.core.config as config
    import fiftyone.utils.coco as coco

    try:
        dataset = runpy.run_path(str(folder / "load_fiftyone.py"), run_name="loader")["dataset"]
        samples = [(sample.filepath, sample.ground_truth) for sample in dataset]
    except config.FiftyOneConfigError as error:
        print(f"fiftyone: no database ({str(error).split('.')[0]}), its importer alone is asked")
        importer = coco.COCODetectionDatasetImporter(
            data_path=str(images), labels_path=str(folder / "fiftyone.json"), label_types="segmentations"
        )
        with importer:
            samples = [(path, found) for path, _, found in importer]
    (objects,) = [found for path, found in samples if path.endswith("a.png")]
    for found in objects.detections:
        x, y, _, _ = found.bounding_box
        left, top = round(x * WIDTH), round(y * HEIGHT)
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[top : top + found.mask.shape[0], left : left + found.mask.shape[1]] = found.mask
        yield found.label, mask


READERS = {
    "coco": (read_coco, "pycocotools"),
    "yolo": (read_yolo, "supervision"),
    "cvat": (read_cvat, "datumaro"),
    "labelstudio": (read_labelstudio, "label-studio-sdk"),
    "labelme": (read_labelme, "labelme"),
    "fiftyone": (read_fiftyone, "fiftyone"),
}


def read(form: str, work: Path) -> None:
    """Compare what a library reads with what was drawn."""
    reader, package = READERS[form]
    expected = dict(zip(NAMES, drawn_masks(), strict=True))
    for masks in FORMS:
        found = dict(reader(work / masks, work / "images"))
        assert set(found) == set(expected), set(found) ^ set(expected)
        ious = [float((found[name] & mask).sum() / (found[name] | mask).sum()) for name, mask in expected.items()]
        numbers = " ".join(f"{value:.4f}" for value in ious)
        print(f"{form}, masks={masks}, read by {package} {version(package)}: IoU {numbers}")
    if form == "cvat":
        print(f"{call_function(work / 'rle', work / 'images')} (cvat-sdk {version('cvat-sdk')})")


if __name__ == "__main__":
    half, chosen, place = sys.argv[1:]
    {"write": write, "read": read}[half](chosen, Path(place).resolve())
