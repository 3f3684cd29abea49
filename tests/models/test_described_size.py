"""A file of a few kilobytes describes a model of many gigabytes: refused by its shapes, in bounded time and memory."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import load_detector
from cutler_pl.weights.files import write_state

_LOAD = """
import json, resource, sys
from cutler_pl.errors import CheckpointError
from cutler_pl.models.checkpoint import load_detector
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        load_detector(path)
    except CheckpointError as error:
        print(json.dumps([str(error), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]), flush=True)
"""
HUGE: dict[str, dict[str, Any]] = {
    "classes": {"num_classes": 65_536, "class_agnostic_boxes": False, "stage_ious": [0.5],
                "stage_box_weights": [[10, 10, 5, 5]], "box_head_dim": 65_536},
    "pyramid": {"fpn_channels": 65_536},
    "box head": {"box_head_dim": 65_536, "fpn_channels": 4096},
    "masks": {"mask_head_channels": 65_536},
    "timm": {"backbone": "timm/convnext_xxlarge"},
    "million classes": {"num_classes": 1_000_000},
    "test size": {"min_size_test": 65_536, "max_size_test": 65_536},
    "no such network": {"backbone": "timm/no_such_network"},
    "address": {"backbone": "timm/hf_hub:a/b"},
}  # fmt: skip


def described(path: Path, options: dict[str, Any], state: dict[str, torch.Tensor]) -> Path:
    classes = options.get("num_classes", 1)
    ids = list(range(1, classes + 1)) if classes < 100_000 else [1]
    write_state(path, state, model_config={"detector": options, "category_ids": ids, "class_names": None})
    return path


def test_huge_descriptions_take_no_memory(tmp_path: Path) -> None:
    paths = [described(tmp_path / f"{i}.pth", o, {"w": torch.zeros(3)}) for i, o in enumerate(HUGE.values())]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _LOAD, *map(str, paths)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for (sentence, kibibytes), path, name in zip(found, paths, HUGE, strict=True):
        assert str(path) in sentence, name
        assert kibibytes < 512 << 10, name
    assert "CUTLER_PL_MAX_CHANNELS=1000000" in found[5][0]
    assert "CUTLER_PL_MAX_TEST_SIZE=65536" in found[6][0]
    assert "describes a model that cannot be" in found[7][0]
    assert time.monotonic() - start < 100


def test_repeated_weights_take_no_memory(tmp_path: Path) -> None:
    """A tensor that repeats one number fits the described shape, and has few bytes in the file."""
    options = {"fpn_channels": 2048, "mask_head_channels": 2048, "box_head_dim": 256}
    with torch.device("meta"):
        model = build_detector("cascade_mask_rcnn_r50_fpn", **options)
    state = {key: torch.zeros(()).expand(value.shape) for key, value in model.state_dict().items()}
    content = {"detector": options, "category_ids": [1], "class_names": None}
    torch.save({"model": state, "model_config": content}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="unfolds to more than 4 times its size"):
        load_detector(tmp_path / "a.pth")


@pytest.mark.parametrize("backbone", ["resnet18", "timm/convnextv2_atto", "timm/swin_tiny_patch4_window7_224"])
def test_build_without_memory(backbone: str) -> None:
    """Shapes of every family of networks are had on the meta device."""
    options = {"backbone": backbone, "fpn_channels": 32, "box_head_dim": 16, "mask_head_channels": 16}
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in build_detector("cascade_mask_rcnn_r50_fpn", **options).state_dict().items()}
    model = build_detector("cascade_mask_rcnn_r50_fpn", **options)
    assert shapes == {k: v.shape for k, v in model.state_dict().items()}
