"""The ONNX file of a small cascade, written by the command itself, in onnxruntime beside the detector in PyTorch.

Writing it is tracing, and takes most of a minute, so all tests share one file and are marked slow.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import small_models
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cutler_pl.commands import export
from cutler_pl.errors import CheckpointError, ConfigError, ImageReadError, OutputWriteError
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.backends.onnx_parts import other_files
from cutler_pl.models.export import OUTPUTS, compare_onnx
from cutler_pl.weights.files import write_state

ROOT = Path(__file__).resolve().parents[2]
SMALL = small_models.SMALL | {
    "anchor_sizes": [8, 16, 32, 64, 128],
    "stage_ious": [0.5, 0.6],
    "stage_box_weights": [[10, 10, 5, 5], [20, 20, 10, 10]],
    "max_detections": 10,
    "score_threshold": 0.4,
    "min_size_test": 64,
    "max_size_test": 96,
}
# Weights as they are initialised say almost the same of every region; scores and boxes are to differ.
STRONGER = {
    "cls_score": 100,
    "objectness_logits": 30,
    "bbox_pred": 10,
    "anchor_deltas": 10,
    "mask_head.predictor": 1000,
}


def small_detector() -> Detector:
    torch.manual_seed(2)
    detector = build_detector("cascade_mask_rcnn_r50_fpn", 2, **SMALL).eval()
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            for part, factor in STRONGER.items():
                if part in name:
                    parameter.mul_(factor)
    return detector


def smooth_image(height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=torch.Generator().manual_seed(height)) * 255
    return F.interpolate(coarse, (height, width), mode="bilinear")[0].to(torch.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # In a process of its own: the shape checks of the test run take a traced size for no integer.
    folder = tmp_path_factory.mktemp("export")
    write_state(folder / "small.safetensors", small_detector().state_dict())
    settings = [
        "model=cascade_mask_rcnn",
        *(f"model.detector.{name}={json.dumps(value)}" for name, value in SMALL.items()),
        "num_classes=2",
    ]
    command = [sys.executable, ROOT / "scripts/export.py", "checkpoint=small.safetensors", "output=new/small.onnx"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *settings], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (folder / "new").iterdir()] == ["small.onnx"]
    log = done.stdout + done.stderr
    assert "on a generated image onnxruntime finds" in log
    assert "differs from PyTorch" not in log
    assert "Warning" not in log
    return folder / "new" / "small.onnx"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size_hw", "reason"),
    [((60, 80), "enlarged"), ((190, 71), "made smaller"), ((64, 96), "as it is"), ((40, 200), "capped")],
)
def test_file_finds_what_the_detector_finds(exported: Path, size_hw: tuple[int, int], reason: str) -> None:
    deviation = compare_onnx(small_detector(), exported, smooth_image(*size_hw))
    assert deviation.detections_onnx == deviation.detections > 0
    assert deviation.boxes <= 1e-2
    assert deviation.scores <= 1e-4
    assert deviation.labels == 0
    assert deviation.mask_pixels <= 1e-3


@pytest.mark.slow
def test_image_without_detections(exported: Path) -> None:
    flat = torch.full((3, 50, 70), 114, dtype=torch.uint8)
    assert len(small_detector()([flat])[0]["scores"]) == 0
    boxes, scores, labels, masks = session(exported).run(list(OUTPUTS), {"image": flat.numpy()})
    assert (boxes.shape, scores.shape, labels.shape, masks.shape) == ((0, 4), (0,), (0,), (0, 50, 70))


@pytest.mark.slow
def test_outputs_have_declared_shapes_and_types(exported: Path) -> None:
    image = smooth_image(60, 80)
    boxes, scores, labels, masks = session(exported).run(list(OUTPUTS), {"image": image.numpy()})
    assert (boxes.dtype, scores.dtype, labels.dtype, masks.dtype) == ("float32", "float32", "int64", "bool")
    assert masks.shape == (len(boxes), 60, 80)
    assert 0 < masks.mean() < 1
    assert set(labels.tolist()) <= {1, 2}


@pytest.mark.slow
def test_file_says_what_it_is(exported: Path) -> None:
    model = onnx.load(exported)
    assert {entry.domain: entry.version >= 17 for entry in model.opset_import} == {"": True}
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["image"].startswith("uint8 RGB (3, height, width)")
    assert OUTPUTS.items() <= notes.items()
    assert notes["checkpoint"] == "small.safetensors"
    assert json.loads(notes["class_names"]) == ["1", "2"]
    assert json.loads(notes["category_ids"]) == [1, 2]
    assert [(i.name, len(i.type.tensor_type.shape.dim)) for i in model.graph.input] == [("image", 3)]
    assert [o.name for o in model.graph.output] == list(OUTPUTS)


@pytest.mark.slow
def test_folder_of_networks(tmp_path: Path) -> None:
    """`exported=` of `predict` reads the folder; another run replaces it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "cutler_pl", *words, "checkpoint=tiny_generated"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    for _ in range(2):
        log = run("export", "output=networks")
        assert "on a generated image onnxruntime finds" in log
        assert "differs from PyTorch" not in log
    described = json.loads((tmp_path / "networks" / "detector.json").read_text())
    assert set(described["files"]) == {path.name for path in (tmp_path / "networks").glob("*.onnx")}
    assert described["model_config"]["class_names"]
    image = tmp_path / "image.png"
    Image.fromarray(smooth_image(90, 120).permute(1, 2, 0).numpy()).save(image)
    for backend in ("onnx", "openvino"):
        run("predict", f"input={image}", f"output={backend}.png", f"backend={backend}", "exported=networks")
    assert (tmp_path / "openvino.json").is_file()
    assert not (tmp_path / "cache" / "cutler_pl").exists()


@pytest.mark.parametrize("name", ["notes.txt", "network.onnx"])
def test_folder_of_something_else_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full", name).touch()
    Path("full/detector.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"output=full: this folder holds something else .{name}.; choose another"):
        export.run(settings("checkpoint=tiny_generated", "output=full"))


def test_interrupted_folder_is_written_again(tmp_path: Path) -> None:
    for name in ("backbone.onnx", "box_head_0.onnx", ".rpn_head.onnx.12.tmp"):
        (tmp_path / name).touch()
    assert other_files(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ([], ConfigError, "needed and not given: checkpoint=<value> output=<value>"),
        (
            ["checkpoint=missing.ckpt", "output=a.pth"],
            ConfigError,
            r"a\.pth: expected the name of a file ending in \.onnx",
        ),
        (["checkpoint=missing.ckpt", "output=a_file/a.onnx"], OutputWriteError, r"a_file/a\.onnx: cannot be written"),
        (["checkpoint=missing.ckpt", "output=a.onnx", "image=none.jpg"], ImageReadError, r"none\.jpg"),
        (["checkpoint=missing.pth", "output=a.onnx"], CheckpointError, r"missing\.pth: no such file"),
    ],
)
def test_refuse_invalid_settings_before_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], error: type[Exception], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    with pytest.raises(error, match=sentence):
        export.run(settings(*given))
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_missing_extra_is_one_sentence(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    outcome = command("scripts/export.py", "checkpoint=missing.ckpt", "output=a.onnx")
    assert outcome.code == 1
    assert outcome.err.startswith("error: the ONNX export needs the package 'onnxscript'")
    assert outcome.err.endswith("pip install 'cutler_pl[export]'\n")


def settings(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("export", list(overrides))


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
