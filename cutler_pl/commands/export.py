"""Export a detector as one ONNX file or as one per network, compared with PyTorch."""

import copy
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
from cutler_pl.models import Detector, DetectorMetadata
from cutler_pl.models.backends import choose_backend
from cutler_pl.models.backends.onnx_parts import export_parts, other_files
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.models.export import Deviation, compare_onnx, deviation, export_onnx, require_export_packages
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.seeding import generator
from cutler_pl.runtime.version import VERSION
from cutler_pl.types import ImageTensor
from cutler_pl.weights.files import MODEL_CONFIG_KEY

log = get_logger(__name__)

_GENERATED_HW = (480, 640)
# About what the order of summation alone does to the original's network, as `channels_last` shows.
_SAME_BOXES, _SAME_SCORES, _SAME_MASKS = 0.25, 1e-3, 1e-3


def run(cfg: DictConfig) -> Path:
    """Export as `conf/export.yaml` describes; returns the file or the folder written.

    Raises:
        ConfigError: A value is missing, or `output` is neither an .onnx file nor a folder for the networks.
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
    image, model = image.contiguous(), model.eval()
    notes = {"made_by": f"cutler_pl {VERSION}, torch {torch.__version__}", "checkpoint": Path(cfg.checkpoint).name}
    shown_on = "a generated image" if cfg.image is None else cfg.image
    if not output.suffix:
        export_parts(model, output, notes=notes | _described(model, metadata))
        twin = copy.deepcopy(model)
        choose_backend("onnx").install(twin, exported=output)
        _report(deviation(model([image])[0], twin([image])[0]), output, shown_on)
        return output
    notes |= {name: json.dumps(getattr(metadata, name)) for name in ("category_ids", "class_names")}
    with atomic_write(output) as temporary:
        export_onnx(model, temporary, notes=notes)
        _report(compare_onnx(model, temporary, image), output, shown_on)
    return output


def _described(model: Detector, metadata: DetectorMetadata) -> dict[str, Any]:
    ids, names = metadata.category_ids, metadata.class_names
    return {MODEL_CONFIG_KEY: detector_config(model, category_ids=ids, class_names=names)}


def _check_output(output: Path) -> None:
    """Check before the minutes of the export whether the file or folder can be written."""
    if output.suffix not in ("", ".onnx") or (output.suffix and output.is_dir()):
        raise ConfigError(
            f"output={output}: expected the name of a file ending in .onnx, or of a folder for one file per network"
        )
    if not output.suffix and (others := other_files(output)):
        raise ConfigError(f"output={output}: this folder holds something else ({others[0]}); choose another one")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output if output.is_dir() else output.parent):
            pass
    except OSError as error:
        raise OutputWriteError(f"{output}: cannot be written ({error.strerror}); choose another output") from error


def _generated_image() -> ImageTensor:
    """A smooth random image, the same each time."""
    coarse = torch.rand(1, 3, 30, 40, generator=generator(0)) * 255
    smooth: ImageTensor = F.interpolate(coarse, _GENERATED_HW, mode="bilinear")[0].to(torch.uint8)
    return smooth


def _report(found: Deviation, output: Path, image: str) -> None:
    log.info(
        f"{output}: on {image} onnxruntime finds {found.detections_onnx} detections, "
        f"PyTorch {found.detections}; largest differences: boxes {found.boxes:.2g} pixels, "
        f"scores {found.scores:.2g}, labels {found.labels}, mask pixels {100 * found.mask_pixels:.2g} %"
    )
    same_detections = found.detections == found.detections_onnx and found.labels == 0
    largest = (found.boxes / _SAME_BOXES, found.scores / _SAME_SCORES, found.mask_pixels / _SAME_MASKS)
    if not same_detections or max(largest) > 1:
        log.warning(
            f"{output} differs from PyTorch on this image: where scores are close, rounding can change which box wins; "
            "compare on an image of yours (image=<file>) before using it"
        )
