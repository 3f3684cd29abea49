"""Each verdict on small generated sets, by MaskCut itself."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.api import MaskCut
from cutler_pl.coco import rle
from cutler_pl.pseudo_masks.quality.options import QualityOptions, QualityThresholds
from cutler_pl.pseudo_masks.quality.report import SecondSetting, assess
from cutler_pl.pseudo_masks.quality.verdict import RunSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def kinds() -> Iterator[Any]:
    """`benchmarks/quality_scenes.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield import_module("quality_scenes")
        sys.modules.pop("quality_scenes")


def verdict(folder: Path, names: list[str]) -> str:
    """The verdict on masks of some images of `<folder>/images`."""
    maskcut = MaskCut("patch_descriptors", device="cpu")
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        found = maskcut.predict(folder / "images" / name)
        height, width = found.image_size_hw
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for record in found.to_coco(image_id=number):
            area = rle.area(record["segmentation"])
            annotations.append({**record, "id": len(annotations) + 1, "area": area, "iscrowd": 0})
    path = folder / "annotations.json"
    categories = [{"id": 1, "name": "fg"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    report = assess(
        path,
        folder / "images",
        folder,
        options=QualityOptions(),
        thresholds=QualityThresholds(),
        second=SecondSetting(None, "not asked for"),
        settings=RunSettings(features="patch_descriptors"),
    )
    return report.verdict.verdict


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("two or three", "works"), ("crowd", "outside"), ("forest", "outside"), ("mosaic", "outside")],
)
def test_verdict_on_a_kind(kinds: Any, tmp_path: Path, kind: str, expected: str) -> None:
    kinds.write_kind(tmp_path, kind, 3, seed=7)
    assert verdict(tmp_path, sorted(path.name for path in (tmp_path / "images").iterdir())) == expected


def test_mixture_is_doubtful(kinds: Any, tmp_path: Path) -> None:
    """Three images with large objects, and one of an alike crowd."""
    kinds.write_kind(tmp_path, "two or three", 3, seed=7)
    kinds.write_kind(tmp_path, "crowd", 1, seed=7)
    assert verdict(tmp_path, sorted(path.name for path in (tmp_path / "images").iterdir())) == "doubtful"
