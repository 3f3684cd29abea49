"""The detector that is part of the package."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from cutler_pl import CutLER
from cutler_pl.commands.instantiate import build_detector_from
from cutler_pl.errors import CheckpointError
from cutler_pl.weights.sources import PACKAGED, locate_weights

CONF = Path(__file__).resolve().parents[2] / "conf"


def model_of(*overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["model.init=tiny_generated", *overrides]).model


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_file_is_small_and_described(name: str) -> None:
    path = locate_weights(name)
    assert path.suffix == ".safetensors"
    assert path.stat().st_size < 10_000_000
    assert path.with_suffix(".md").is_file()


def test_packaged_detector_predicts_offline() -> None:
    model = CutLER.from_pretrained("tiny_generated", device="cpu")
    result = model.predict(torch.zeros(3, 96, 128, dtype=torch.uint8))
    assert result.boxes.dtype == torch.float32
    assert set(result.names.values()) == {"fg"}


def test_packaged_weights_start_a_training_of_their_architecture() -> None:
    model = build_detector_from(model_of("model=cascade_mask_rcnn_tiny_generated"), num_classes=1)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}


def test_other_architectures_refuse_packaged_weights() -> None:
    with pytest.raises(
        CheckpointError,
        match=r"model\.init=tiny_generated fits the detector of model=cascade_mask_rcnn_tiny_generated alone",
    ):
        build_detector_from(model_of("model=cascade_mask_rcnn_tiny"), num_classes=1)
