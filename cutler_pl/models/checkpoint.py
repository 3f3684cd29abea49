"""From a checkpoint back to its detector, without a config: every checkpoint says how its model is built."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.config import DetectorConfig

MODEL_CONFIG_KEY = "model_config"
_PREFIX = "model."  # DetectorModule's name for its model
# How it was trained or is run, not what it is.
_LEFT_OUT = ("classification_weights", "sampler", "compile_backbone", "channels_last")


def detector_config(
    model: Detector, *, category_ids: Sequence[int], class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Plain values that say how a detector is built and what its labels mean, for `DetectorModule`'s `model_config`.

    Args:
        model: The detector.
        category_ids: Category id of label 1, 2, …
        class_names: Names of the classes in the same order.

    Returns:
        `detector`, the options of `build_detector` (pixel mean and deviation and the test size among them),
        `category_ids` and `class_names`.
    """
    options = {
        field.name: _plain(getattr(model.params, field.name))
        for field in fields(DetectorConfig)
        if field.name not in _LEFT_OUT
    }
    return {
        "detector": options,
        "category_ids": [int(category_id) for category_id in category_ids],
        "class_names": [str(name) for name in class_names] if class_names is not None else None,
    }


def load_detector(path: str | Path, **overrides: Any) -> tuple[Detector, dict[str, Any]]:
    """Build the detector of a checkpoint and load its weights. Nothing in the file is executed.

    Args:
        path: A checkpoint of this project's training.
        **overrides: Options of `build_detector` that differ from training, such as `max_detections`.

    Returns:
        The detector, in training mode as a fresh one is, on the CPU, and the stored `model_config`.

    Raises:
        CheckpointError: The file cannot be read, does not say how its model is built, or its weights do not fit.
    """
    checkpoint = read_checkpoint(path)
    config = read_model_config(checkpoint, path)
    model = build_detector("cascade_mask_rcnn_r50_fpn", **(config["detector"] | overrides))  # options name all
    weights = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the model the file describes: {error}") from error
    return model, config


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a Lightning checkpoint onto the CPU; only plain values and tensors are accepted.

    Raises:
        CheckpointError: There is no such file, or it is not such a checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint; expected a .ckpt of a training run") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is not a checkpoint of a training run: it has no state_dict")
    return checkpoint


def read_model_config(checkpoint: Mapping[str, Any], source: object) -> dict[str, Any]:
    """The `model_config` that `DetectorModule` stored in a checkpoint.

    Args:
        checkpoint: A loaded checkpoint.
        source: Where it came from, for the message.

    Raises:
        CheckpointError: The checkpoint does not say how its model is built.
    """
    config = checkpoint.get(MODEL_CONFIG_KEY)
    if not isinstance(config, Mapping) or "detector" not in config:
        raise CheckpointError(
            f"{source} does not say how its model is built (it is not a checkpoint of this project's training): "
            "give the model by model=<option> and the weights by model.init=<file>"
        )
    return dict(config)


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
