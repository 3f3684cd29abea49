"""Convert the weights of a detector from one format into another, through its model."""

from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.commands.instantiate import load_detector_from
from cutler_pl.errors import ConfigError
from cutler_pl.models.checkpoint import detector_config, load_backbone
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.files import WRITABLE, to_half, write_state
from cutler_pl.weights.load import to_detectron2

log = get_logger(__name__)

DETECTRON2, OURS, TORCHVISION = "detectron2", "cutler_pl", "torchvision"


def run(cfg: DictConfig) -> Path:
    """Convert as `conf/convert_checkpoint.yaml` describes; returns the file written.

    Raises:
        ConfigError: The ending of `output` does not exist.
        CheckpointError: The source cannot be had, or is no detector.
        OutputLockedError: Another run writes `output`.
    """
    output = Path(cfg.output)
    if output.suffix not in WRITABLE:
        raise ConfigError(f"output={output}: the ending says what is written; choose one of {' '.join(WRITABLE)}")
    with output_lock(output, purpose="convert_checkpoint"):
        return _convert(cfg, output)


def _convert(cfg: DictConfig, output: Path) -> Path:
    described = None
    if cfg.format == TORCHVISION:
        state = load_backbone(str(cfg.source))
    else:
        model, metadata = load_detector_from(cfg, str(cfg.source))
        described = detector_config(model, category_ids=metadata.category_ids, class_names=metadata.class_names)
        state = to_detectron2(model) if cfg.format == DETECTRON2 else model.state_dict()
    if cfg.half:
        state = to_half(state, name=str(cfg.source))
    write_state(output, state, model_config=described, bare=described is None)
    log.info("%s: %d weights, written to %s under %s's names", cfg.source, len(state), output, cfg.format)
    return output
