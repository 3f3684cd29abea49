"""From config to objects: what the commands share."""

import re
from collections.abc import Sequence
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from omegaconf import DictConfig

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models import Detector, DetectorMetadata, load_detector, load_weights
from cutler_pl.models.config import TRAIN_OPTIONS
from cutler_pl.runtime import signals
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.callbacks import RankWatch
from cutler_pl.weights.sources import PACKAGED

log = get_logger(__name__)

SCRATCH = "scratch"


def build_detector_from(cfg: DictConfig, *, num_classes: int) -> Detector:
    """Build `cfg.detector` for a number of classes and load `cfg.init` into it.

    Args:
        cfg: The `model` group: `detector`, `init` ("scratch", a released name, an address or a file), `reset_head`.
        num_classes: Number of classes, without the background.

    Raises:
        CheckpointError: The start weights cannot be loaded or do not fit.
    """
    try:
        model: Detector = instantiate(cfg.detector)(num_classes=num_classes)
    except ConfigError as error:
        option = re.match(r"\w*", str(error)).group()  # type: ignore[union-attr]
        if option not in cfg.detector:
            raise
        raise ConfigError(f"model.detector.{error}") from error
    if cfg.init == SCRATCH:
        log.info("start weights: none (model.init=scratch), every layer is newly initialized")
        return model
    try:
        report = load_weights(model, cfg.init, reset_head=cfg.reset_head)
    except CheckpointError as error:
        if cfg.init in PACKAGED:
            raise CheckpointError(
                f"model.init={cfg.init} fits the detector of model=cascade_mask_rcnn_{cfg.init} alone, with one "
                f"class or model.reset_head=true; choose that model, or model.init={SCRATCH}"
            ) from error
        way_out = "choose other start weights by model.init=<file|address|released name> or model.init=scratch"
        if cfg.get("init_from"):
            way_out = f"give {cfg.init_from}, or {way_out}"
        raise type(error)(f"{error}; {way_out}") from error
    log.info("start weights: %s, %s", cfg.init, report)
    return model


def load_detector_from(cfg: DictConfig, source: str, **options: Any) -> tuple[Detector, DetectorMetadata]:
    """Load a trained detector: built as the file says or shows, with the inference options of `model=` if it is given.

    Args:
        cfg: `model` (null or the group) and `num_classes` (null or the number that the file must have).
        source: A source that `load_detector` accepts.
        **options: Options of inference.

    Raises:
        CheckpointError: The file cannot be read, or its weights do not fit.
        ConfigError: A setting contradicts the file.
    """
    if cfg.get("model") is not None:
        options = dict(instantiate(cfg.model.detector).keywords) | options
        for name in (*TRAIN_OPTIONS, "name"):
            options.pop(name, None)
    if cfg.num_classes is not None:
        options["num_classes"] = cfg.num_classes
    return load_detector(source, **options)


def build_trainer(cfg: DictConfig, *, callbacks: Sequence[L.Callback] = (), plugins: Sequence[Any] = ()) -> L.Trainer:
    """Lightning's Trainer with the callbacks and loggers of a config, and further callbacks and plugins.

    Without a progress bar among the callbacks (`callbacks.progress=null`) there is none: Lightning's own counts epochs.

    Raises:
        ConfigError: The hardware is missing.
    """
    watch = RankWatch()
    callbacks = [*instantiate_all(cfg.get("callbacks")), *callbacks, watch]
    with_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    options = {
        "callbacks": callbacks,
        "logger": instantiate_all(cfg.get("logger")) or False,
        "enable_progress_bar": cfg.trainer.get("enable_progress_bar", with_bar),
        "plugins": [*instantiate_all(cfg.trainer.get("plugins")), *plugins],
    }
    interval, accumulate = cfg.trainer.get("val_check_interval"), cfg.trainer.get("accumulate_grad_batches", 1)
    if isinstance(interval, int) and accumulate > 1:  # Lightning's counts batches, ours steps
        options["val_check_interval"] = interval * accumulate
    try:
        trainer: L.Trainer = instantiate(cfg.trainer, **options)
    except Exception as error:
        if (cause := _misconfiguration(error)) is None:
            raise
        asked = cfg.trainer.get("accelerator")
        raise ConfigError(f"this machine cannot run trainer={asked}: {cause}; try trainer=cpu") from error
    keep_signals(trainer)
    watch.watch_launch(trainer)
    return trainer


def keep_signals(trainer: L.Trainer) -> None:
    """Leave SIGINT and SIGTERM to `runtime.signals`, also while the trainer runs.

    Lightning's handler of SIGTERM waits for other ranks, and only a training looks at what it notes; its handler of
    SLURM's signal stays. The ranks that the trainer starts get the signal, too.
    """
    connector, launcher = trainer._signal_connector, trainer.strategy.launcher
    register = connector.register_signal_handlers

    def register_and_keep() -> None:
        register()
        signals.install()

    connector.register_signal_handlers = register_and_keep  # type: ignore[method-assign]
    # the list is emptied then: Lightning kills this process as soon as one of them has failed
    signals.pass_on_to(lambda: getattr(launcher, "procs", []))


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Objects of a group of named entries with `_target_`; null entries are left out."""
    return [instantiate(entry) for entry in group.values() if entry] if group else []


def _misconfiguration(error: BaseException | None) -> MisconfigurationException | None:
    while error is not None and not isinstance(error, MisconfigurationException):
        error = error.__cause__
    return error
