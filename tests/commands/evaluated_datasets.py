"""Small datasets to evaluate, the settings to do it, and what it gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cutler_pl.commands.evaluate.plan import Plan, make_plan
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.runtime.config_tree import config_dir

CONFIG_DIR = config_dir()


BOX = [2.0, 3.0, 20.0, 12.0]


MASK = [[2, 3, 22, 3, 22, 15, 2, 15]]


def config(root: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        given = [f"paths.datasets='{root / 'sets'}'", f"paths.root_dir='{root}'", f"output='{root / 'out'}'"]
        return compose("evaluate", overrides=[*given, *overrides])


def make_dataset(root: Path, name: str, *, names: tuple[str, ...] = ("fg",), images: int = 2) -> dict[str, Any]:
    """A dataset of the catalogue with one object per image, with its images."""
    info = CATALOG[name]
    folder = root / "sets" / info.images
    folder.mkdir(parents=True, exist_ok=True)
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": 3 * n, "name": title} for n, title in enumerate(names, 1)]
    for n in range(1, images + 1):
        pixels = np.random.default_rng(n).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.jpg")
        coco["images"].append({"id": n, "file_name": f"{n}.jpg", "height": 30, "width": 40})
        record = {"id": n, "image_id": n, "category_id": coco["categories"][n % len(names)]["id"], "bbox": BOX}
        coco["annotations"].append(record | {"area": 240.0, "iscrowd": 0, "segmentation": MASK})
    path = root / "sets" / info.annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))
    return coco


def write_found(root: Path, name: str, coco: dict[str, Any], **changed: Any) -> None:
    """Predictions `<root>/found/<name>.json` that are right in the first image, with one record changed."""
    truth = coco["annotations"][0]
    found = {"image_id": 1, "category_id": truth["category_id"], "bbox": BOX, "score": 0.9, "segmentation": MASK}
    (root / "found").mkdir(exist_ok=True)
    (root / "found" / f"{name}.json").write_text(json.dumps([found | changed]))


def plan(root: Path, *overrides: str) -> Plan:
    return make_plan(config(root, *overrides))


def read(root: Path, name: str) -> Any:
    return json.loads((root / "out" / name).read_text())
