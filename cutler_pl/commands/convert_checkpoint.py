"""Weights of a detector from one format into another, by way of the model they must fit."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models import load_weights
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.files import WRITABLE, write_state
from cutler_pl.weights.load import to_detectron2

log = get_logger(__name__)

DETECTRON2, OURS = "detectron2", "cutler_pl"


def run(cfg: DictConfig) -> Path:
    """Convert as `conf/convert_checkpoint.yaml` describes.

    Returns:
        The file written.

    Raises:
        ConfigError: `format` or the ending of `output` does not exist.
        CheckpointError: The source cannot be had, does not fit the model, or is a backbone alone.
    """
    output = Path(cfg.output)
    if cfg.format not in (DETECTRON2, OURS):
        raise ConfigError(f"format={cfg.format} does not exist; choose {DETECTRON2} or {OURS}")
    if output.suffix not in WRITABLE:
        raise ConfigError(f"output={output}: the ending says what is written; choose one of {' '.join(WRITABLE)}")
    model: nn.Module = instantiate(cfg.model.detector)(num_classes=cfg.num_classes)
    report = load_weights(model, cfg.source)
    if report.kind != "detector":
        raise CheckpointError(
            f"{cfg.source} is a backbone without the rest of a detector; it needs no conversion, since "
            "model.init=<it> and load_weights read it as it is"
        )
    write_state(output, to_detectron2(model) if cfg.format == DETECTRON2 else model.state_dict())
    log.info("%s: %s, written to %s under %s's names", cfg.source, report, output, cfg.format)
    return output
