"""Export a detector as an ONNX file, compared with PyTorch before it is moved to its path."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from cutler_pl.commands.instantiate import load_detector_from
from cutler_pl.commands.settings import require
from cutler_pl.errors import ConfigError, OutputWriteError
from cutler_pl.images import read_image
from cutler_pl.models.export import Deviation, compare_onnx, export_onnx, require_export_packages
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.seeding import generator
from cutler_pl.runtime.version import VERSION
from cutler_pl.types import ImageTensor

log = get_logger(__name__)

_GENERATED_HW = (480, 640)
# About what the order of summation alone does to the original's network, as `channels_last` shows.
_SAME_BOXES, _SAME_SCORES, _SAME_MASKS = 0.25, 1e-3, 1e-3


def run(cfg: DictConfig) -> Path:
    """Export as `conf/export.yaml` describes; returns the file written.

    Raises:
        ConfigError: A value is missing, or the ending of `output` is not .onnx.
        OptionalDependencyError: The extra `export` is not installed.
        OutputWriteError: `output` cannot be written.
        OutputLockedError: Another run writes `output`.
        CheckpointError: The checkpoint cannot be read or does not fit the model.
        ImageReadError: `image` cannot be read.
    """
    require(cfg, "checkpoint", "output")
    output = Path(cfg.output)
    _check_output(output)
    require_export_packages()
    with output_lock(output, purpose="export"):
        return _export(cfg, output)


def _export(cfg: DictConfig, output: Path) -> Path:
    image = _generated_image() if cfg.image is None else torch.from_numpy(read_image(cfg.image)).permute(2, 0, 1)
    # the comparison is with sums in the original's order
    options: dict[str, Any] = {"channels_last": False, "compile_backbone": False}
    if cfg.max_detections is not None:
        options["max_detections"] = cfg.max_detections
    model, metadata = load_detector_from(cfg, str(cfg.checkpoint), **options)
    notes = {"made_by": f"cutler_pl {VERSION}, torch {torch.__version__}", "checkpoint": Path(cfg.checkpoint).name}
    notes |= {name: json.dumps(getattr(metadata, name)) for name in ("category_ids", "class_names")}
    with atomic_write(output) as temporary:
        export_onnx(model, temporary, notes=notes)
        deviation = compare_onnx(model.eval(), temporary, image.contiguous())
        _report(deviation, output, "a generated image" if cfg.image is None else cfg.image)
    return output


def _check_output(output: Path) -> None:
    """Check before the minutes of the export whether the file can be written."""
    if output.suffix != ".onnx" or output.is_dir():
        raise ConfigError(f"output={output}: expected the name of a file ending in .onnx")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OutputWriteError(f"{output}: cannot be written ({error.strerror}); choose another output") from error


def _generated_image() -> ImageTensor:
    """A smooth random image, the same each time."""
    coarse = torch.rand(1, 3, 30, 40, generator=generator(0)) * 255
    smooth: ImageTensor = F.interpolate(coarse, _GENERATED_HW, mode="bilinear")[0].to(torch.uint8)
    return smooth


def _report(deviation: Deviation, output: Path, image: str) -> None:
    log.info(
        f"{output}: on {image} onnxruntime finds {deviation.detections_onnx} detections, "
        f"PyTorch {deviation.detections}; largest differences: boxes {deviation.boxes:.2g} pixels, "
        f"scores {deviation.scores:.2g}, labels {deviation.labels}, mask pixels {100 * deviation.mask_pixels:.2g} %"
    )
    same_detections = deviation.detections == deviation.detections_onnx and deviation.labels == 0
    largest = (deviation.boxes / _SAME_BOXES, deviation.scores / _SAME_SCORES, deviation.mask_pixels / _SAME_MASKS)
    if not same_detections or max(largest) > 1:
        log.warning(
            f"{output} differs from PyTorch on this image: where scores are close, rounding can change which box wins; "
            "compare on an image of yours (image=<file>) before using it"
        )
