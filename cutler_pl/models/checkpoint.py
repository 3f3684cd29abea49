"""From a checkpoint to its detector: the architecture is described in the file or read off its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cutler_pl.coco.categories import COCO_CATEGORIES
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models.architecture import infer_options
from cutler_pl.models.config import TEST_OPTIONS, TRAIN_OPTIONS, DetectorConfig, make_config
from cutler_pl.models.description import described_options
from cutler_pl.models.detector import Detector
from cutler_pl.models.pretrained import read_config
from cutler_pl.weights.files import MODEL_CONFIG_KEY, read_checkpoint, unwrap
from cutler_pl.weights.load import check_fit, load_state
from cutler_pl.weights.sources import locate_detector, locate_weights

# Choices of a training or of a run, not of the model.
_NAME = "cascade_mask_rcnn_r50_fpn"  # the options name every difference from it
# What the original tests detectors with that were trained with labels, and its files do not say.
_WITH_LABELS = {"rpn_nms_threshold": 0.7, "score_threshold": 0.05}
_LEFT_OUT = (
    "classification_weights",
    "soft_targets",
    "pixel_confidence",
    "sampler",
    "compile_backbone",
    "channels_last",
)


class DetectorMetadata(NamedTuple):
    """What the labels 1, 2, … of a detector mean; assumed where its file does not say so."""

    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    assumed: bool = False


def detector_config(
    model: Detector, *, category_ids: Sequence[int], class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """JSON values that say how a detector is built and what its labels mean, stored in every checkpoint.

    Args:
        model: The detector.
        category_ids: Category id of label 1, 2, …
        class_names: Names of the classes in the same order.

    Returns:
        `detector`, the options of `build_detector` (pixel mean and deviation and the test size among them),
        `category_ids` and `class_names`.
    """
    options = {
        field.name: _to_lists(getattr(model.config, field.name))
        for field in fields(DetectorConfig)
        if field.name not in _LEFT_OUT
    }
    return {
        "detector": options,
        "category_ids": [int(category_id) for category_id in category_ids],
        "class_names": [str(name) for name in class_names] if class_names is not None else None,
    }


def load_detector(source: str | Path, **overrides: Any) -> tuple[Detector, DetectorMetadata]:
    """Build the detector of a checkpoint and load its weights. Nothing in the file is executed.

    A checkpoint of this project says how its model is built. Of any other the number of stages and classes, the ResNet
    and the widths are read off the weights; everything else keeps its default.

    Args:
        source: A .ckpt, .pth, .pkl or .safetensors file with our or detectron2's names, a folder that holds one (see
            `locate_weights`), a released name, an https address or a hub repository.
        **overrides: Options of `build_detector` for inference that differ from the file's, such as `max_detections`;
            others only where they agree with the file, or where it does not show them (a timm `backbone`).

    Returns:
        The detector on the CPU, in training mode, and what its labels mean.

    Raises:
        CheckpointError: The file cannot be had or read, holds no detector, or its weights do not fit.
        ConfigError: An override does not exist, cannot work, or contradicts the file.
    """
    files = locate_detector(source)
    content = read_checkpoint(files.weights)
    state = unwrap(content, name=str(source))
    described = content.get(MODEL_CONFIG_KEY) if files.config is None else read_config(files.config, name=str(source))
    assumed = not (isinstance(described, Mapping) and "detector" in described)
    if described is not None and not assumed:
        options, ids, names = described_options(described, state, name=str(source))
    else:
        options = infer_options(state, name=str(source), given=overrides)
        ids, names = _usual_classes(options["num_classes"])
        if len(ids) > 1:
            options |= _WITH_LABELS
    try:
        trained = make_config(_NAME, **options)
    except ConfigError as error:
        raise _impossible(str(source), error) from error
    _check_overrides(overrides, options, trained, name=str(source))
    config = make_config(_NAME, **(options | overrides))
    _check_shapes(config, state, name=str(source), given=overrides)
    model = Detector(config)
    load_state(model, state, name=str(source))
    return model, DetectorMetadata(ids, names, assumed)


def load_backbone(source: str | Path) -> dict[str, Tensor]:
    """The ResNet of a detector, or of a file that `load_weights` takes for a ResNet-50, under torchvision's names.

    timm's ResNets have the same names; the classifier is missing.

    Raises:
        CheckpointError: The file cannot be had or read, or holds neither.
    """
    state = unwrap(read_checkpoint(locate_weights(source)), name=str(source))
    if any(key.startswith("roi_heads.") for key in state):
        model, _ = load_detector(source)
    else:
        model = Detector(make_config(_NAME))
        load_state(model, state, name=str(source))
    body: dict[str, Tensor] = model.backbone.body.state_dict()
    return body


def _check_shapes(config: DetectorConfig, state: Mapping[str, Tensor], *, name: str, given: Mapping[str, Any]) -> None:
    """Compare a model without memory with the weights: a file may describe one that is far larger than itself."""
    try:
        with torch.device("meta"):
            model = Detector(config)
        check_fit(model, state, name=name)
    except ConfigError as error:
        if given:
            raise
        raise _impossible(name, error) from error
    except CheckpointError as error:
        raise CheckpointError(f"{error}\n(the model was built as the file describes it)") from error


def _impossible(name: str, error: ConfigError) -> CheckpointError:
    return CheckpointError(f"{name}: describes a model that cannot be ({error}); write the file again")


def _check_overrides(
    overrides: Mapping[str, Any], trained: Mapping[str, Any], before: DetectorConfig, *, name: str
) -> None:
    """Options of inference act; others must be what the weights were trained with, as far as the file says so."""
    now = make_config(_NAME, **{**trained, **overrides})
    for option in overrides:
        if option in TRAIN_OPTIONS:
            raise ConfigError(f"{option} is an option of training, which a trained detector does not use; leave it out")
        was, wanted = getattr(before, option), getattr(now, option)
        if option in trained and option not in TEST_OPTIONS and was != wanted:
            raise ConfigError(f"{option}={wanted}, but {name} was trained with {was}; leave {option} out")


def _usual_classes(num_classes: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Category ids and names where the file holds none: COCO's for 80 classes."""
    if num_classes == len(COCO_CATEGORIES):
        return tuple(COCO_CATEGORIES), tuple(COCO_CATEGORIES.values())
    ids = tuple(range(1, num_classes + 1))
    return ids, ("fg",) if num_classes == 1 else tuple(map(str, ids))


def _to_lists(value: Any) -> Any:
    return [_to_lists(part) for part in value] if isinstance(value, tuple) else value
