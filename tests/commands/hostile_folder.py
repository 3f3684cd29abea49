"""A folder of inputs of which most are wrong in one way each."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import MODEL_CONFIG_KEY, detector_config

from .conftest import SMALL

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{} loop\n"


def write_hostile_folder(root: Path) -> None:
    """`good/` and `coco.json` fit each other and `good.ckpt`; every other file is wrong."""
    _write_images(root)
    _write_coco(root)
    _write_checkpoints(root)
    (root / "text.txt").write_text("nothing\n")
    (root / "empty").write_bytes(b"")
    (root / "folder").mkdir()
    (root / "list.txt").write_bytes(b"good/1.png\n\0\n")
    with zipfile.ZipFile(root / "other.zip", "w") as archive:
        archive.writestr("readme", "nothing")


def _write_images(root: Path) -> None:
    for name in ("good", "eps", "fifo", "broken"):
        (root / name).mkdir()
    values = np.random.default_rng(0)
    for number in (1, 2):
        Image.fromarray(values.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(root / "good" / f"{number}.png")
    (root / "eps" / "a.jpg").write_bytes(EPS)
    os.mkfifo(root / "fifo" / "a.jpg")
    (root / "broken" / "a.jpg").write_bytes((root / "good" / "1.png").read_bytes()[:200])


def _write_coco(root: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in (1, 2)]
    record = {"category_id": 1, "bbox": [4, 4, 30, 20], "area": 600, "iscrowd": 0}
    record["segmentation"] = [[4, 4, 34, 4, 34, 24, 4, 24]]
    annotations = [{**record, "id": i, "image_id": i} for i in (1, 2)]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (root / "coco.json").write_text(json.dumps(coco))

    def variant(name: str, edit: Callable[[dict[str, Any]], Any]) -> None:
        changed = json.loads(json.dumps(coco))
        edit(changed)
        (root / f"{name}.json").write_text(json.dumps(changed))

    far = [[4, 4, 1e300, 4, 34, 24, 4, 24]]
    variant("far", lambda c: c["annotations"][0].update(segmentation=far))
    variant("near", lambda c: c["annotations"][0].update(segmentation=[[4, 4, 1e9, 4, 34, 24]]))
    huge = {"size": [10**10, 10**10], "counts": [1]}
    variant("huge", lambda c: c["annotations"][0].update(segmentation=huge))
    variant("id", lambda c: c["images"][0].update(id=2**63))
    variant("outside", lambda c: c["images"][0].update(file_name="../coco.json"))
    variant("number", lambda c: c.update(annotations=5))
    (root / "digits.json").write_text('{"images": [{"id": ' + "9" * 5000 + "}]}")
    (root / "nested.json").write_text("[" * 100_000)
    (root / "results.json").write_text(json.dumps([{**record, "image_id": 1, "score": 0.5, "segmentation": far}]))


def _write_checkpoints(root: Path) -> None:
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, **{**SMALL, "backbone": "timm/test_resnet"})
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    config = detector_config(model, category_ids=[1], class_names=["object"])
    good = {"state_dict": state, MODEL_CONFIG_KEY: config}
    torch.save(good, root / "good.ckpt")
    nan = {
        name: torch.full_like(value, torch.nan) if value.is_floating_point() else value for name, value in state.items()
    }
    torch.save({**good, "state_dict": nan}, root / "nan.ckpt")
    torch.save({"state_dict": [1, 2]}, root / "list.ckpt")
    torch.save({**good, MODEL_CONFIG_KEY: {"detector": {"fpn_channels": "many"}}}, root / "described.ckpt")
    whole = (root / "good.ckpt").read_bytes()
    (root / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (root / "zeros.ckpt").write_bytes(whole[: len(whole) // 2] + bytes(4096) + whole[len(whole) // 2 + 4096 :])
    (root / "long.pkl").write_bytes(b"\x80\x02\x8b\x00\x00\x00\x10.")
    (root / "call.pth").write_bytes(pickle.dumps(_Call()))
    (root / "zero.ckpt").write_bytes(b"")


class _Call:
    """A pickle that runs a command where it is obeyed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)
