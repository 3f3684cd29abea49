"""A detector as an ONNX file that was compared with PyTorch before it takes its place."""

import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from cutler_pl.commands.predict import LoadedDetector, load_for_prediction
from cutler_pl.commands.settings import require
from cutler_pl.errors import ConfigError, OutputWriteError
from cutler_pl.images import read_image
from cutler_pl.models.export import Deviation, compare_onnx, export_onnx, require_export_packages
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.reproducibility import generator
from cutler_pl.runtime.version import VERSION
from cutler_pl.types import ImageTensor

log = get_logger(__name__)

_ENDING = ".onnx"
_PICTURE_HW = (480, 640)
# About what the order of summation alone does to the original's network, as `channels_last` shows.
_SAME_BOXES, _SAME_SCORES, _SAME_MASKS = 0.25, 1e-3, 1e-3


def run(cfg: DictConfig) -> Path:
    """Export as `conf/export.yaml` describes.

    Returns:
        The file written.

    Raises:
        ConfigError: A value is missing, or the ending of `output` is not .onnx.
        OptionalDependencyError: The extra `export` is not installed.
        OutputWriteError: `output` cannot be written.
        CheckpointError: The checkpoint cannot be read or does not fit the model.
        ImageReadError: `photo` cannot be read.
    """
    require(cfg, "checkpoint", "output")
    output = Path(cfg.output)
    _check_output(output)
    require_export_packages()
    picture = _picture() if cfg.photo is None else _photo(cfg.photo)
    detector = load_for_prediction(_plain(cfg))
    with atomic_write(output) as temporary:
        export_onnx(detector.model, temporary, notes=_notes(cfg, detector))
        deviation = compare_onnx(detector.model, temporary, picture)
        _report(deviation, output, "a generated picture" if cfg.photo is None else cfg.photo)
    return output


def _check_output(output: Path) -> None:
    """Find out at the start, not after the minutes of the export, whether the file can be written."""
    if output.suffix != _ENDING or output.is_dir():
        raise ConfigError(f"output={output}: expected the name of a file ending in {_ENDING}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OutputWriteError(f"{output}: cannot be written ({error.strerror}); choose another output") from error


def _plain(cfg: DictConfig) -> DictConfig:
    """Without what makes PyTorch alone faster: the comparison is with the sums in the original's order."""
    cfg = cfg.copy()
    cfg.model.detector.update(channels_last=False, compile_backbone=False)
    return cfg


def _photo(path: str) -> ImageTensor:
    return torch.from_numpy(read_image(path)).permute(2, 0, 1).contiguous()


def _picture() -> ImageTensor:
    """A smooth random picture, the same each time."""
    coarse = torch.rand(1, 3, 30, 40, generator=generator(0)) * 255
    smooth: ImageTensor = F.interpolate(coarse, _PICTURE_HW, mode="bilinear")[0].to(torch.uint8)
    return smooth


def _notes(cfg: DictConfig, detector: LoadedDetector) -> dict[str, str]:
    return {
        "made_by": f"cutler_pl {VERSION}, torch {torch.__version__}",
        "checkpoint": Path(str(cfg.checkpoint)).name,
        "class_names": json.dumps(list(detector.class_names)),
        "category_ids": json.dumps(list(detector.category_ids)),
    }


def _report(deviation: Deviation, output: Path, picture: str) -> None:
    log.info(
        "%s: on %s onnxruntime finds %d detections, PyTorch %d; largest differences: boxes %.2g pixels, scores %.2g, "
        "labels %d, mask pixels %.2g %%",
        output,
        picture,
        deviation.detections_onnx,
        deviation.detections,
        deviation.boxes,
        deviation.scores,
        deviation.labels,
        100 * deviation.mask_pixels,
    )
    same = (
        deviation.detections == deviation.detections_onnx
        and deviation.boxes <= _SAME_BOXES
        and deviation.scores <= _SAME_SCORES
        and deviation.labels == 0
        and deviation.mask_pixels <= _SAME_MASKS
    )
    if not same:
        log.warning(
            "%s differs from PyTorch on this picture: where scores are close, rounding can change which box wins; "
            "compare on a photo of yours (photo=<file>) before using it",
            output,
        )
