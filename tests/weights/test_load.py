import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError
from cutler_pl.models import Detector, load_weights
from cutler_pl.weights.files import read_state, write_state
from cutler_pl.weights.load import to_detectron2

from .tiny_detectors import CASCADE, SINGLE, assert_same, copied, tiny


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
