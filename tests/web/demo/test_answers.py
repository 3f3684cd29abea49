"""Answers without a server: what each tab says of an image and its settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.api import CutLER
from cutler_pl.errors import InputError, WeightsNotFoundError
from cutler_pl.maskcut.released import BACKBONES
from cutler_pl.web.demo import backbones as backbones_module
from cutler_pl.web.demo.answers import Demo
from cutler_pl.web.demo.backbones import Backbones
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.work_folder import WorkFolder

CUT = ("patch_descriptors", 3, 0.8, "adaptive")


@pytest.fixture(scope="module")
def model() -> CutLER:
    return CutLER.from_pretrained("tiny_generated", device="cpu")


@pytest.fixture
def demo(model: CutLER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    monkeypatch.setattr(backbones_module, "is_in_hub_cache", lambda hub_id: False)
    return Demo(model, "tiny_generated", Backbones(None, device=model.device), DemoOptions(), WorkFolder(tmp_path))


@pytest.fixture
def upload(tmp_path: Path, scene: np.ndarray) -> dict[str, Any]:
    Image.fromarray(scene).save(tmp_path / "a.png")
    return {"path": str(tmp_path / "a.png"), "orig_name": "../<b>scene</b>.png"}


def test_no_image_gives_a_hint(demo: Demo) -> None:
    assert "Upload an image" in demo.detect(None, 0.4).status
    assert demo.cut(None, *CUT).figures is None


def test_name_is_no_path(demo: Demo, upload: dict[str, Any]) -> None:
    answer = demo.detect(upload, 0.4)
    assert answer.downloads is not None
    assert '"file_name": "b>.png"' in answer.downloads[0].read_text()


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -0.1, 1.5, "high", None, True])
def test_threshold_outside_range_is_refused(demo: Demo, upload: dict[str, Any], threshold: Any) -> None:
    assert "expected a number from 0 to 1" in demo.detect(upload, threshold).status


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, "dino_vits8", "there is no backbone"),
        (0, "../conf/train", "there is no backbone"),
        (0, "<script>", "&lt;script&gt;"),
        (1, 0, "an integer from 1 to 10"),
        (1, 2.5, "an integer from 1 to 10"),
        (2, float("nan"), "τ=nan"),
        (3, "later", "stop rule=later"),
    ],
)
def test_setting_that_cannot_work_is_refused(
    demo: Demo, upload: dict[str, Any], place: int, value: Any, said: str
) -> None:
    fields = [*CUT]
    fields[place] = value
    assert said in demo.cut(upload, *fields).status.replace("There", "there").replace("Stop", "stop")


@pytest.mark.parametrize("value", ["/etc/passwd", {"path": "/etc/passwd"}, {"path": None}, {}, 5, {"path": "a.png"}])
def test_path_is_refused(demo: Demo, value: Any) -> None:
    assert "no image that was uploaded here" in demo.detect(value, 0.4).status


def test_large_image_of_few_bytes(demo: Demo, tmp_path: Path) -> None:
    """Nothing of the size of the image times the number of objects is in memory."""
    Image.new("L", (6000, 6000)).save(tmp_path / "a.png")
    answer = demo.detect({"path": str(tmp_path / "a.png")}, 0.4)
    assert answer.figures is not None
    with Image.open(answer.figures[1]) as figure:
        assert figure.size == (1024, 1024)


def test_rejected_round_says_why(demo: Demo, tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    answer = demo.cut({"path": str(tmp_path / "a.png")}, *CUT)
    assert "no new object" in answer.details


def test_offered_are_weights_that_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"timm/{BACKBONES['dino_vits16'].timm_name}"
    monkeypatch.setattr(backbones_module, "is_in_hub_cache", lambda hub_id: hub_id == here)
    offered = Backbones(None, device=torch.device("cpu"))
    assert offered.names == ["patch_descriptors", "dino_vits16"]
    assert offered.params("dino_vits16").tau == 0.15
    with pytest.raises(InputError, match="choose one of patch_descriptors, dino_vits16"):
        offered.extractor("dino_vitb8")


def test_weights_asked_for_are_fetched_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**options: Any) -> None:
        raise WeightsNotFoundError(f"weights of {options['name']}: not here")

    monkeypatch.setattr(backbones_module, "build_feature_extractor", missing)
    with pytest.raises(WeightsNotFoundError, match="dino_vits16"):
        Backbones(["dino_vits16"], device=torch.device("cpu"))
