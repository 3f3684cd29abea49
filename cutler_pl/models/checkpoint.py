"""From a checkpoint to its detector: the architecture is described in the file or read off its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from cutler_pl.errors import CheckpointError
from cutler_pl.models.architecture import infer_options
from cutler_pl.models.config import DetectorConfig, current_names
from cutler_pl.models.detector import Detector, build_detector
from cutler_pl.weights.files import MODEL_CONFIG_KEY, read_checkpoint, unwrap
from cutler_pl.weights.load import load_state
from cutler_pl.weights.sources import locate_weights

# Choices of a training or of a run, not of the model.
_LEFT_OUT = ("classification_weights", "sampler", "compile_backbone", "channels_last")


class DetectorMetadata(NamedTuple):
    """What the labels 1, 2, … of a detector mean."""

    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]


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
        source: A .ckpt, .pth, .pkl or .safetensors file with our or detectron2's names, a released name, an https
            address or a hub repository.
        **overrides: Options of `build_detector` that differ from the file's, such as `max_detections`.

    Returns:
        The detector on the CPU, in training mode, and what its labels mean.

    Raises:
        CheckpointError: The file cannot be had or read, holds no detector, or its weights do not fit.
        ConfigError: An override does not exist or cannot work.
    """
    content = read_checkpoint(locate_weights(source))
    state = unwrap(content, name=str(source))
    described = content.get(MODEL_CONFIG_KEY)
    if isinstance(described, Mapping) and "detector" in described:
        options = current_names(described["detector"])
        ids = tuple(described["category_ids"])
        names = tuple(described["class_names"] or map(str, ids))
    else:
        options = infer_options(state, name=str(source), given=overrides)
        ids = tuple(range(1, options["num_classes"] + 1))
        names = ("fg",) if len(ids) == 1 else tuple(map(str, ids))
    model = build_detector("cascade_mask_rcnn_r50_fpn", **(options | overrides))  # the options name every difference
    try:
        load_state(model, state, name=str(source))
    except CheckpointError as error:
        raise CheckpointError(f"{error}\n(the model was built as the file describes it)") from error
    return model, DetectorMetadata(ids, names)


def _to_lists(value: Any) -> Any:
    return [_to_lists(part) for part in value] if isinstance(value, tuple) else value
