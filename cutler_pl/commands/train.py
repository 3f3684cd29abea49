"""Train a detector on a folder of images and a COCO file."""

import time
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.going_on import command_to_go_on, requeued
from cutler_pl.commands.instantiate import build_detector_from, build_trainer
from cutler_pl.commands.run_metadata import plain, record_run
from cutler_pl.commands.run_settings import run_settings
from cutler_pl.commands.settings import require
from cutler_pl.commands.train_summary import summary
from cutler_pl.data.sampler import batch_size_per_rank
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError, TrainingDivergedError
from cutler_pl.models import Detector
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.models.resume import check_resume
from cutler_pl.runtime import signals
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import FirstSteps, StepCheckpoint, StopOnSignal, TimeBudget
from cutler_pl.training.changed_settings import check_changes, check_model
from cutler_pl.training.checkpoint_folder import AtomicCheckpointIO, CheckpointFolder, step_of
from cutler_pl.training.loggers import start_loggers, trackers
from cutler_pl.training.missed_validation import validate_finished
from cutler_pl.training.objective import LabelLosses
from cutler_pl.training.resume import ResumePoint, find_resume_point

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path | None:
    """Train as `conf/train.yaml` describes; returns the checkpoint of the last step, None where there is none.

    Raises:
        DatasetNotFoundError: Images or annotations are missing.
        AnnotationError: The COCO file is not usable.
        CheckpointError: Start weights, or the checkpoint to go on from, cannot be loaded or do not fit.
        ConfigError: Settings contradict one another, the checkpoint or the hardware.
        OutputLockedError: Another run writes into the output folder.
        TrackerError: A tracker has no login, or cannot be reached.
        TrainingDivergedError: The loss is not finite any more.
    """
    started = time.monotonic()
    signals.handle_also("SIGUSR1")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")

    _check_choices(cfg)
    datamodule = instantiate(cfg.data.datamodule)
    output = Path(cfg.paths.output_dir)
    try:
        datamodule.check()
        with rank_zero_lock(output, purpose="train"):
            return _train(cfg, datamodule, output, started=started)
    except signals.StoppedBySignal as stop:
        raise requeued(stop) from stop


def _train(cfg: DictConfig, datamodule: Any, output: Path, *, started: float) -> Path | None:
    folder = CheckpointFolder(output / "checkpoints")
    point = find_resume_point(cfg.resume, folder)
    trainer = build_trainer(cfg, plugins=[AtomicCheckpointIO()])
    way_on = f"go on by: {command_to_go_on(output)}"
    callbacks: list[L.Callback] = cast(Any, trainer).callbacks
    for checkpoint in [callback for callback in callbacks if isinstance(callback, StepCheckpoint)]:
        stop = StopOnSignal(checkpoint, way_on=way_on)
        callbacks.insert(callbacks.index(checkpoint), stop)  # Lightning runs checkpoint callbacks last
    for budget in [callback for callback in callbacks if isinstance(callback, TimeBudget)]:
        budget.count_from(started)
    callbacks.insert(0, FirstSteps())
    module = _module(cfg, datamodule.training_set, trainer, point)
    if point is not None and 0 <= trainer.max_steps <= point.step:
        if StepCheckpoint.misses_validation(point.content, folder):
            log.info("the validation of step %d was interrupted and is made up", point.step)
            StepCheckpoint.log_row(trainer, point.content, folder)
            validate_finished(trainer, module, point.content, datamodule=datamodule, ckpt_path=point.path)
        end = "the training is finished, %s is at step %d of %d; a larger trainer.max_steps goes on"
        log.info(end, point.path, point.step, trainer.max_steps)
        return point.path

    if trainer.max_steps == 0:
        log.info("trainer.max_steps=0: nothing is trained, and nothing is written")
        return None

    start_loggers(trainer.loggers)
    if trainer.is_global_zero:
        metadata = record_run(output, cfg)
        for line in summary(cfg, trainer, module.model, datamodule.training_set, way_on=way_on):
            log.info("%s", line)
        for tracker in trackers(trainer.loggers):
            tracker.track_run(output, metadata)
    for logger in trainer.loggers:
        logger.log_hyperparams(plain(cfg))
    start: dict[str, Any] = {} if point is None else {"ckpt_path": point.path, "weights_only": True}
    if point is not None:
        log.info("resumed from %s at step %d", point.path, point.step)
        point = None  # its weights need not be held twice
    try:
        trainer.fit(module, datamodule=datamodule, **start)
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"{error}; {_way_on(cfg, folder)}") from error
    except RuntimeError as error:  # of a collective, for instance, since another process has ended by the signal
        if (signum := signals.requested()) is None or isinstance(error, CutlerError):
            raise
        saved = f"step {step_of(folder.last.resolve())}" if folder.last.exists() else "no step"
        raise signals.StoppedBySignal(signum, f"{saved} is saved, {way_on}") from error
    if not folder.last.exists():
        log.info("trained; no checkpoint was written, as callbacks.checkpoint is off")
        return None
    log.info("trained; weights in %s", folder.last)
    return folder.last


def _module(cfg: DictConfig, training_set: Any, trainer: L.Trainer, point: ResumePoint | None) -> DetectorModule:
    """The module to train, with the start weights, or ready for those of a checkpoint.

    Raises:
        CheckpointError: The checkpoint is of another model.
        ConfigError: A setting differs that a resumed training cannot change.
    """
    settings = run_settings(cfg, processes=trainer.world_size)
    if point is not None:
        check_changes(point, settings)
    num_classes = len(training_set.category_ids)
    if point is None:
        _check_init(cfg)
        model = _start(cfg, num_classes=num_classes)
    else:
        model = instantiate(cfg.model.detector)(num_classes=num_classes)
    model_config = detector_config(model, category_ids=training_set.category_ids, class_names=training_set.class_names)
    if point is not None:
        check_model(point, model, model_config)
    objective = instantiate(cfg.teacher) if cfg.get("teacher") else LabelLosses()
    objective.check(trainer, images=batch_size_per_rank(cfg.data.batch_size, trainer.world_size))
    return DetectorModule(
        model,
        optimizer=instantiate(cfg.optimizer, batch_size=cfg.data.batch_size * trainer.accumulate_grad_batches),
        scheduler=instantiate(cfg.scheduler),
        model_config=model_config,
        run_settings=settings,
        seed=cfg.seed,
        group_size=cfg.data.group_size,
        objective=objective,
    )


def _start(cfg: DictConfig, *, num_classes: int) -> Detector:
    """The model with the start weights, in one sentence where they are not those of a teacher of its architecture."""
    try:
        return build_detector_from(cfg.model, num_classes=num_classes)
    except CheckpointError as error:
        what, *weights = str(error).splitlines()
        if cfg.get("teacher") is None or not weights:
            raise
        raise CheckpointError(
            f"{what}: the mean teacher starts as model.init, which is of another architecture; give a checkpoint of "
            "this one, or choose by model= the one it was trained with"
        ) from error


def _way_on(cfg: DictConfig, folder: CheckpointFolder) -> str:
    """What to do after a divergence: settings for the newest checkpoint before it, and the one before that."""
    whole = []
    for path in folder.newest_first():
        try:
            content = check_resume(path)
        except CheckpointError:
            continue
        if content.get("nonfinite_steps", [0, 0])[1] == 0:
            whole.append(f"resume={path}")
        if len(whole) == 2:
            break
    rate = f"optimizer.lr={cfg.optimizer.lr / 2:g}"
    if not whole:
        return f"there is no checkpoint of before, so start anew with {rate}"
    older = f" (or {whole[1]}, should the loss have grown before)" if len(whole) > 1 else ""
    return f"add {whole[0]} {rate} to go on from there{older}"


def _check_choices(cfg: DictConfig) -> None:
    """Raise `ConfigError` for what the user has to choose and has not, or not from the table."""
    if "label_schedule" in cfg and cfg.label_schedule.name not in cfg.label_schedule.table:
        known = ", ".join(name.removesuffix("pct") for name in cfg.label_schedule.table)
        raise ConfigError(f"label_percent={cfg.label_percent}: the recipe has no such row; choose one of {known}")
    require(cfg, "data.images", "data.annotations")
    if cfg.resume is None:
        _check_init(cfg)


def _check_init(cfg: DictConfig) -> None:
    if OmegaConf.is_missing(cfg.model, "init"):
        raise ConfigError(f"needed and not given: model.init=<file>, {cfg.model.init_from}")
