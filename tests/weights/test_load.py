import copy
import json
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError
from cutler_pl.models import Detector, build_detector, load_weights
from cutler_pl.weights.files import read_state, write_state
from cutler_pl.weights.load import to_detectron2

CASCADE, SINGLE = "cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"
TINY = {"backbone": "resnet18", "fpn_channels": 8, "box_head_dim": 8, "mask_head_channels": 8}


@cache
def template(name: str, num_classes: int, options: tuple[tuple[str, Any], ...]) -> Detector:
    return build_detector(name, num_classes, **dict(options))


def tiny(name: str = CASCADE, num_classes: int = 1, *, seed: int = 0, **options: Any) -> Detector:
    """A small detector; another seed gives other weights everywhere."""
    detector = copy.deepcopy(template(name, num_classes, tuple({**TINY, **options}.items())))
    with torch.no_grad():
        for value in detector.state_dict().values():
            if value.is_floating_point():
                value.add_(1 + seed)
    return detector


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(model: nn.Module, state: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def lightning_file(path: Path, model: nn.Module) -> None:
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    extras = {"epoch": 3, "global_step": 9, "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(1.0)}}}
    torch.save({"state_dict": state, "optimizer_states": [{}], "hyper_parameters": {"lr": 0.01}, **extras}, path)


WRITERS: dict[str, Callable[[Path, nn.Module], None]] = {
    "detectron2.pth": lambda path, model: write_state(path, to_detectron2(model)),
    "detectron2_bare.pth": lambda path, model: torch.save(to_detectron2(model), path),
    "detectron2_training.pth": lambda path, model: torch.save(
        {"model": to_detectron2(model), "iteration": np.int64(5), "scheduler": {"last_epoch": 5}}, path
    ),
    "detectron2.pkl": lambda path, model: write_state(path, to_detectron2(model)),
    "detectron2.safetensors": lambda path, model: write_state(path, to_detectron2(model)),
    "ours.pth": lambda path, model: write_state(path, model.state_dict()),
    "ours.safetensors": lambda path, model: safetensors.torch.save_file(model.state_dict(), path),
    "lightning.ckpt": lightning_file,
}


@pytest.mark.parametrize(("name", "architecture"), [*((name, CASCADE) for name in WRITERS), ("detectron2.pth", SINGLE)])
def test_every_format_loads_bit_by_bit(tmp_path: Path, name: str, architecture: str) -> None:
    source, model = tiny(architecture, 3, seed=1), tiny(architecture, 3, seed=2)
    WRITERS[name](tmp_path / name, source)
    report = load_weights(model, tmp_path / name)
    assert_same(model, source.state_dict())
    assert report.kind == "detector"
    assert report.fits
    assert set(report.loaded) == set(model.state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"model": {key: value.numpy() for key, value in state.items()}, "__author__": "someone"},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    ],
    ids=["bare", "under model", "arrays", "data parallel", "compiled"],
)
def test_state_dicts_load_in_every_wrapping(wrap: Callable[[dict[str, Tensor]], dict[str, Any]]) -> None:
    source, model = tiny(seed=1), tiny(seed=2)
    load_weights(model, wrap(to_detectron2(source)))
    assert_same(model, source.state_dict())
    model = tiny(seed=2)
    load_weights(model, wrap(copied(source)))
    assert_same(model, source.state_dict())


def test_ignore_constants_and_batch_counts() -> None:
    """Old checkpoints hold constants and batch counts."""
    source, model = tiny(seed=1), tiny(seed=2)
    state = {key: value for key, value in to_detectron2(source).items() if "num_batches_tracked" not in key}
    state |= {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    state |= {f"proposal_generator.anchor_generator.cell_anchors.{i}": torch.zeros(3, 4) for i in range(5)}
    assert load_weights(model, state).fits
    assert_same(model, source.state_dict())
    frozen = tiny(seed=3, norm="frozen")
    assert load_weights(frozen, source.state_dict()).fits, "frozen batch norms keep no count"


def broken_state(model: nn.Module) -> dict[str, Tensor]:
    state = to_detectron2(model)
    del state["backbone.fpn_lateral3.weight"], state["roi_heads.box_head.1.fc2.bias"]
    state["roi_heads.box_predictor.2.cls_score.bias"] = torch.zeros(7)
    return state | {"proposal_generator.extra": torch.zeros(1), "roi_heads.keypoint_head.weight": torch.zeros(1)}


def test_strict_loading_names_every_mismatch() -> None:
    """The model does not change."""
    model = tiny(seed=2)
    before = copied(model)
    with pytest.raises(CheckpointError) as error:
        load_weights(model, broken_state(tiny(seed=1)))
    message = str(error.value)
    assert message.startswith("the given state dict does not fit the model: ")
    assert "1 of another shape: roi_heads.stages.2.predictor.cls_score.bias" in message
    assert "[7] instead of [2]" in message
    missing = "2 missing in the source: backbone.fpn.inner_blocks.1.0.weight (backbone.fpn_lateral3.weight)"
    assert missing in message
    assert "(roi_heads.box_head.1.fc2.bias)" in message
    unexpected = "proposal_generator.extra, roi_heads.keypoint_head.weight"
    assert f"2 without a place in the model: {unexpected}" in message
    assert_same(model, before)


def test_lenient_loading_reports_mismatches() -> None:
    """What fits is loaded."""
    source, model = tiny(seed=1), tiny(seed=2)
    before = copied(model)
    report = load_weights(model, broken_state(source), strict=False)
    left = {"backbone.fpn.inner_blocks.1.0.weight", "roi_heads.stages.1.head.fc2.bias"}
    assert set(report.missing) == left
    assert report.unexpected == ("proposal_generator.extra", "roi_heads.keypoint_head.weight")
    assert report.mismatched == (("roi_heads.stages.2.predictor.cls_score.bias", (2,), (7,)),)
    assert not report.fits
    assert_same(model, source.state_dict() | {key: before[key] for key in (*left, report.mismatched[0].key)})
    assert "of another shape" in str(report)


@pytest.mark.parametrize(
    "state",
    [{"encoder.weight": torch.zeros(2)}, torchvision.models.squeezenet1_1(weights=None).state_dict()],
    ids=["unknown", "squeezenet"],
)
def test_name_checkpoint_of_another_model(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"model": state}, tmp_path / "other.pth")
    pattern = r"other\.pth is a checkpoint of another model: none of its weights fits"
    with pytest.raises(CheckpointError, match=pattern) as error:
        load_weights(tiny(), tmp_path / "other.pth")
    assert all(key in str(error.value) for key in state)


def test_refuse_torchvision_detector() -> None:
    """Although its backbone fits."""
    model = tiny()
    state = {key: value for key, value in copied(model).items() if key.startswith("backbone.body.")}
    state |= {"rpn.head.conv.0.0.weight": torch.zeros(1), "roi_heads.box_head.fc6.weight": torch.zeros(1)}
    with pytest.raises(
        CheckpointError, match=r"2 without a place in the model: rpn\.head\.conv\.0\.0\.weight"
    ) as error:
        load_weights(model, state)
    assert "missing in the source: backbone.fpn.inner_blocks.0.0.weight" in str(error.value)


def test_mask_rcnn_does_not_load_into_a_cascade() -> None:
    with pytest.raises(CheckpointError, match=re.escape("roi_heads.box_head.2.fc1.weight")):
        load_weights(tiny(CASCADE), to_detectron2(tiny(SINGLE)))


HEAD_LAYERS = {
    *(f"roi_heads.stages.{stage}.predictor.cls_score.{leaf}" for stage in range(3) for leaf in ("weight", "bias")),
    *(f"roi_heads.mask_head.predictor.{leaf}" for leaf in ("weight", "bias")),
}


def test_refuse_other_number_of_classes() -> None:
    """The error names the head layers and the way out."""
    with pytest.raises(CheckpointError, match=r"another number of classes.*reset_head=True") as error:
        load_weights(tiny(CASCADE, 80), to_detectron2(tiny(CASCADE, 1)))
    assert all(key in str(error.value) for key in HEAD_LAYERS)


def test_reset_head_keeps_initial_head_layers() -> None:
    source, model = tiny(CASCADE, 1, seed=1), tiny(CASCADE, 80, seed=2)
    before = copied(model)
    report = load_weights(model, to_detectron2(source), reset_head=True)
    assert set(report.newly_initialized) == HEAD_LAYERS
    assert report.fits
    assert_same(model, copied(source) | {key: before[key] for key in HEAD_LAYERS})
    assert "8 newly initialized (roi_heads.mask_head.predictor, roi_heads.stages.0.predictor.cls_score" in str(report)


def test_reset_head_does_not_excuse_other_layers() -> None:
    state = to_detectron2(tiny(CASCADE, 1)) | {"roi_heads.box_head.0.fc1.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"roi_heads\.stages\.0\.head\.fc1\.bias"):
        load_weights(tiny(CASCADE, 80), state, reset_head=True)


def resnet18() -> nn.Module:
    torch.manual_seed(5)
    return torchvision.models.resnet18(weights=None)


def moco(model: nn.Module) -> dict[str, Any]:
    query = {f"module.encoder_q.{key}": value for key, value in model.state_dict().items() if "fc." not in key}
    key_encoder = {key.replace("encoder_q", "encoder_k"): torch.zeros_like(value) for key, value in query.items()}
    head = {f"module.encoder_q.fc.{i}.weight": torch.zeros(2) for i in (0, 2)}
    return {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": query | key_encoder | head | {"module.queue": torch.zeros(2)},
    }


def detectron2_backbone(model: nn.Module) -> dict[str, Any]:
    renamed = {}
    for key, value in model.state_dict().items():
        name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", key)
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        if not name.startswith("fc.") and "num_batches_tracked" not in name:
            renamed[name if name.startswith("res") else f"stem.{name}"] = value.numpy()
    return {"model": renamed, "__author__": "DINO", "matching_heuristics": True}


@pytest.mark.parametrize(
    "convert",
    [lambda model: model.state_dict(), moco, detectron2_backbone],
    ids=["torchvision", "MoCo", "detectron2 pickle"],
)
def test_backbone_file_sets_backbone_alone(tmp_path: Path, convert: Callable[[nn.Module], dict[str, Any]]) -> None:
    source, model = resnet18(), tiny(seed=2)
    before, saved = copied(model), convert(source)
    if "__author__" in saved:
        (tmp_path / "backbone").write_bytes(pickle.dumps(saved))
    else:
        torch.save(saved, tmp_path / "backbone")
    report = load_weights(model, tmp_path / "backbone")
    assert report.kind == "backbone"
    assert set(report.newly_initialized) == {key for key in before if not key.startswith("backbone.body.")}
    expected = {f"backbone.body.{key}": value for key, value in source.state_dict().items()}
    if "__author__" in saved:
        expected |= {key: value for key, value in before.items() if key.endswith("num_batches_tracked")}
    assert_same(model, before | expected)
    assert "newly initialized (all outside the backbone's body)" in str(report)


def test_incomplete_backbone_names_its_keys() -> None:
    """In the names of its file."""
    saved = detectron2_backbone(resnet18())
    del saved["model"]["res3.0.conv1.weight"]
    pattern = re.escape("1 missing in the source: backbone.body.layer2.0.conv1.weight (res3.0.conv1.weight)")
    with pytest.raises(CheckpointError, match=pattern):
        load_weights(tiny(), saved)


def test_deeper_backbone_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"layer1\.2\.conv1\.weight"):
        load_weights(tiny(), torchvision.models.resnet34(weights=None).state_dict())


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_classifiers_load_into_their_own_backbone(name: str) -> None:
    source = timm.create_model(name, pretrained=False)
    model = tiny(backbone=f"timm/{name}")
    report = load_weights(model, source.state_dict())
    assert report.kind == "backbone"
    assert {key for key in model.state_dict() if key.startswith("backbone.body.")} == set(report.loaded)
    first = next(iter(source.state_dict().values()))
    assert torch.equal(next(iter(model.backbone.body.state_dict().values())), first)


def test_timm_backbone_has_no_detectron2_format() -> None:
    with pytest.raises(CheckpointError, match="detectron2"):
        to_detectron2(tiny(backbone="timm/convnext_atto"))


def test_malicious_checkpoint_is_refused_by_load_weights(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    for name in ("evil.pkl", "evil.pth"):
        state = {"model": to_detectron2(tiny()), "extra": Evil()}
        torch.save(state, tmp_path / name) if name == "evil.pth" else (tmp_path / name).write_bytes(
            pickle.dumps(Evil())
        )
        with pytest.raises(CheckpointError, match="refused"):
            load_weights(tiny(), tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404</html>", "not a checkpoint"),
        (b"", "is empty"),
        (b"PK\x03\x04 cut off", "not readable as a PyTorch checkpoint"),
        (b"\x08\0\0\0\0\0\0\0{broken}", "not readable as safetensors"),
        (pickle.dumps([1, 2]), "holds no weights by name"),
        (pickle.dumps({"model": {"epoch": 3}}), "holds no weights"),
    ],
    ids=["web page", "empty", "cut zip", "cut safetensors", "list", "no tensors"],
)
def test_non_checkpoints_are_named_with_reason(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"file\.pth: {message}"):
        read_state(tmp_path / "file.pth")


def test_write_needs_known_suffix(tmp_path: Path) -> None:
    """No partial file is left."""
    with pytest.raises(CheckpointError, match=r"end it in \.pth \.pkl \.safetensors"):
        write_state(tmp_path / "weights.bin", {"a": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.golden
@pytest.mark.parametrize("model_name", ["cascade_imagenet", "mask_rcnn_imagenet"])
def test_golden_round_trip_is_exact(
    golden_detector: Callable[..., Detector], detectron2_state: Any, model_name: str
) -> None:
    """Keys and bits, to our names and back."""
    expected = detectron2_state(model_name)
    model = golden_detector(model_name)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    assert len(load_weights(model, {"model": expected}).loaded) == len(expected)
    back = to_detectron2(model)
    assert set(back) == set(expected)
    for key, value in expected.items():
        assert torch.equal(back[key], value), key
        assert back[key].dtype == value.dtype


@pytest.mark.golden
def test_golden_one_class_into_80_classes(golden_dir: Path) -> None:
    """The listed layers keep their initial weights."""
    shapes = json.loads((golden_dir / "detector/state_dict_keys.json").read_text())["cascade_imagenet"]["state_dict"]
    state = {key: torch.zeros(()).expand(entry["shape"]) for key, entry in shapes.items()}
    report = load_weights(build_detector(CASCADE, 80), state, reset_head=True)
    assert {report.source_names[key] for key in report.newly_initialized} == {
        *(f"roi_heads.box_predictor.{k}.cls_score.{leaf}" for k in range(3) for leaf in ("weight", "bias")),
        *(f"roi_heads.mask_head.predictor.{leaf}" for leaf in ("weight", "bias")),
    }
    assert len(report.loaded) == 400


@pytest.mark.golden
def test_golden_dino_keys_fill_backbone(golden_dir: Path) -> None:
    facts = json.loads((golden_dir / "detector/state_dict_keys.json").read_text())["dino_RN50_pretrain_d2_format_pkl"]
    state = {key: np.full(shape, 2.0, dtype=np.float32) for key, shape in facts["model_keys_shapes"].items()}
    assert len(state) == 265
    model = tiny(backbone="resnet50")
    report = load_weights(model, {"model": state, "__author__": "DINO", "matching_heuristics": True})
    body = {key: value for key, value in model.state_dict().items() if key.startswith("backbone.body.")}
    weights = {key for key in body if not key.endswith("num_batches_tracked")}
    assert set(report.loaded) == weights
    assert len(weights) == 265
    assert all(torch.all(body[key] == 2) for key in weights)
