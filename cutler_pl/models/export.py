"""The whole detector as one ONNX file: an 8-bit image of any size in; boxes, scores, labels and full-size masks out.

The graph is traced from the detector's own inference. Where that chooses its way by values (sizes, numbers of boxes),
it takes another one under `torch.compiler.is_exporting()`, with the same result: Pillow's resizing as matrix products,
pooling from every level, masks pasted in a loop. With several classes, boxes of different classes are kept apart by
shifting them before suppression, which with 80 classes rounds their coordinates there to a hundredth of a pixel.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutler_pl.models.detector import Detector
from cutler_pl.runtime.imports import require
from cutler_pl.types import ImageTensor, Prediction

OPSET = 18
INPUT = "image"
OUTPUTS = {
    "boxes": "float32 (detections, 4), xyxy in pixels of the image given, best score first",
    "scores": "float32 (detections)",
    "labels": "int64 (detections), the first class is 1",
    "masks": "bool (detections, height, width), of the size of the image given",
}
_INPUT_NOTE = "uint8 RGB (3, height, width), upright, of any size; it is resized and normalised inside"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_EXAMPLE_HW = (60, 80)


class Deviation(NamedTuple):
    """How far a runtime's detections are from those of PyTorch, on one image."""

    detections: int
    """What the detector finds."""
    detections_onnx: int
    """What the other finds; the rest compares each detection with the nearest box there, since the order of almost
    equal scores is chance."""
    boxes: float
    """Largest difference of a coordinate, in pixels."""
    scores: float
    """Largest difference of a score."""
    labels: int
    """Detections with different labels."""
    mask_pixels: float
    """Share of the pixels of all masks that differ."""


class _OneImage(nn.Module):
    """A detector of one image with plain tensors as its result."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (prediction,) = self.detector([image])
        return prediction["boxes"], prediction["scores"], prediction["labels"], prediction["masks"]


def require_export_packages() -> None:
    """Make sure that what the export needs is installed.

    Raises:
        OptionalDependencyError: A package of the extra `export` is missing.
    """
    for package in _PACKAGES:
        require(package, extra="export", purpose="the ONNX export")


@torch.no_grad()
def export_onnx(detector: Detector, path: str | Path, *, notes: Mapping[str, str] | None = None) -> None:
    """Write a detector as an ONNX file with its weights inside; takes a minute or two.

    Args:
        detector: Any detector; it is not changed.
        path: The file.
        notes: What the file says about itself in its metadata, beside its input and outputs.

    Raises:
        OptionalDependencyError: A package of the extra `export` is missing.
    """
    twin = Detector(replace(detector.config, compile_backbone=False))
    twin.load_state_dict(detector.state_dict())
    program = export_program(
        _OneImage(twin.eval()),
        torch.zeros(3, *_EXAMPLE_HW, dtype=torch.uint8),
        (1, 2),
        input_name=INPUT,
        output_names=tuple(OUTPUTS),
    )
    program.model.metadata_props.update({INPUT: _INPUT_NOTE, **OUTPUTS, **(notes or {})})
    program.save(str(path), external_data=False)


def export_program(
    module: nn.Module, example: Tensor, dynamic: Iterable[int], *, input_name: str, output_names: Sequence[str]
) -> Any:
    """A module of one input as an ONNX program of torch's exporter.

    Args:
        module: In eval mode.
        example: An input; sizes of 1 are constants of the graph.
        dynamic: Axes of the input that may have any size.
        input_name: In the file.
        output_names: In the file.

    Raises:
        OptionalDependencyError: A package of the extra `export` is missing.
    """
    require_export_packages()
    optimizer: Any = require("onnxscript.optimizer", extra="export", purpose="the ONNX export")
    sizes = (dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC),)
    with _silenced():
        traced = torch.export.export(module, (example,), dynamic_shapes=sizes, strict=False)
        program = torch.onnx.export(
            traced,
            input_names=[input_name],
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # its rewriting takes most of the time and leaves the runtime's own speed as it is
            verbose=False,
        )
    assert program is not None  # it is None only where torch.onnx.export writes the file by itself
    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    return program


def compare_onnx(detector: Detector, path: str | Path, image: ImageTensor) -> Deviation:
    """Run a file in onnxruntime, on the CPU, and the detector it was made of, on the same image.

    Args:
        detector: In eval mode, on the CPU.
        path: As `export_onnx` wrote it.
        image: uint8 RGB (3, height, width).

    Raises:
        OptionalDependencyError: onnxruntime is missing.
    """
    runtime: Any = require("onnxruntime", extra="export", purpose="checking an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    arrays = session.run(list(OUTPUTS), {INPUT: image.numpy()})
    boxes, scores, labels, masks = (torch.from_numpy(array) for array in arrays)
    (prediction,) = detector([image])
    return deviation(prediction, Prediction(boxes=boxes, scores=scores, labels=labels, masks=masks))


def deviation(prediction: Prediction, found: Prediction) -> Deviation:
    """How far the second of two predictions of one image is from the first."""
    boxes, scores, labels, masks = _arrays(prediction)
    other_boxes, other_scores, other_labels, other_masks = _arrays(found)
    counts = len(boxes), len(other_boxes)
    if 0 in counts:
        return Deviation(*counts, boxes=0.0, scores=0.0, labels=0, mask_pixels=0.0)
    distances = np.abs(boxes[:, None] - other_boxes).max(axis=2) + (labels[:, None] != other_labels)
    nearest = distances.argmin(axis=1)
    return Deviation(
        *counts,
        boxes=float(np.abs(boxes - other_boxes[nearest]).max()),
        scores=float(np.abs(scores - other_scores[nearest]).max()),
        labels=int((labels != other_labels[nearest]).sum()),
        mask_pixels=float((masks != other_masks[nearest]).mean()),
    )


def _arrays(prediction: Prediction) -> tuple[NDArray[Any], ...]:
    tensors = prediction["boxes"], prediction["scores"], prediction["labels"], prediction["masks"]
    return tuple(tensor.numpy() for tensor in tensors)


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the messages of torchvision and onnx_ir about their own insides."""
    logger = logging.getLogger("onnx_ir._convenience")  # "Attribute type is ambiguous": the loop over masks has none
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
