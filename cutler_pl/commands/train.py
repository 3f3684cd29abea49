"""Train a detector on a folder of images and a COCO file."""

from pathlib import Path

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.instantiate import build_detector_from, build_trainer
from cutler_pl.commands.run_metadata import plain, record_run
from cutler_pl.commands.settings import require
from cutler_pl.errors import ConfigError
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.models.resume import check_resume
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training import DetectorModule

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Train as `conf/train.yaml` describes; returns the checkpoint of the last step.

    Raises:
        DatasetNotFoundError: Images or annotations are missing.
        AnnotationError: The COCO file is not usable.
        CheckpointError: Start weights cannot be loaded or do not fit.
        ConfigError: Settings contradict one another or the hardware.
        OutputLockedError: Another run writes into the output folder.
    """
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")

    _check_choices(cfg)
    if cfg.resume is not None:
        check_resume(cfg.resume)
    datamodule = instantiate(cfg.data.datamodule)
    datamodule.check()
    training_set = datamodule.training_set
    model = build_detector_from(cfg.model, num_classes=len(training_set.category_ids))
    trainer = build_trainer(cfg)

    module = DetectorModule(
        model,
        optimizer=instantiate(cfg.optimizer, batch_size=cfg.data.batch_size * trainer.accumulate_grad_batches),
        scheduler=instantiate(cfg.scheduler),
        model_config=detector_config(
            model, category_ids=training_set.category_ids, class_names=training_set.class_names
        ),
        seed=cfg.seed,
        group_size=cfg.data.group_size,
    )
    output = Path(cfg.paths.output_dir)
    with rank_zero_lock(output, purpose="train"):
        if trainer.is_global_zero:
            record_run(output, cfg)
            log.info("training for %d steps, output in %s", trainer.max_steps, output)
        for logger in trainer.loggers:
            logger.log_hyperparams(plain(cfg))
        trainer.fit(module, datamodule=datamodule, ckpt_path=cfg.resume, weights_only=True)
    checkpoint = output / "checkpoints" / "last.ckpt"
    log.info("trained; weights in %s", checkpoint)
    return checkpoint


def _check_choices(cfg: DictConfig) -> None:
    """Raise `ConfigError` for what the user has to choose and has not, or not from the table."""
    if "label_schedule" in cfg and cfg.label_schedule.name not in cfg.label_schedule.table:
        known = ", ".join(name.removesuffix("pct") for name in cfg.label_schedule.table)
        raise ConfigError(f"label_percent={cfg.label_percent}: the recipe has no such row; choose one of {known}")
    require(cfg, "data.images", "data.annotations")
    if OmegaConf.is_missing(cfg.model, "init"):
        raise ConfigError(f"needed and not given: model.init=<file>, {cfg.model.init_from}")
