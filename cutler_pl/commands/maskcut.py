"""Pseudo-masks of photos: from the config to `maskcut.generate`, with pictures of what was found on request."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.commands.instantiate import build_trainer
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.errors import ConfigError
from cutler_pl.images import list_images, read_image
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.output import JobShard, OutputFolder
from cutler_pl.pseudo_masks.shards import ShardRecord
from cutler_pl.reports.maskcut import draw_overlay, draw_steps, figure_path, write_maskcut_page
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)

_PICTURE_SIDE = 1024


def run(cfg: DictConfig) -> Path:
    """Find masks as `conf/maskcut.yaml` describes.

    Returns:
        The COCO file; of a part of a job array, where it will be.

    Raises:
        ConfigError: No features are chosen, or settings cannot work or differ from the output's.
        DatasetNotFoundError: There are no photos.
        CheckpointError: The features' weights cannot be had.
        OutputLockedError: Another run is writing into the output folder.
        TooManyFailuresError: The run is done, but too many photos failed.
    """
    if cfg.get("maskcut") is None:
        raise ConfigError(
            "maskcut=<features> is needed: maskcut=dino_vitb8 (the paper's; downloads weights or takes them from "
            "maskcut.features.weights=<file>) or maskcut=patch_descriptors (needs no weights, much weaker); "
            "conf/maskcut/ holds all options"
        )
    output = Path(cfg.output)
    part = JobShard(int(cfg.job.index), int(cfg.job.count))
    root, names = list_images(cfg.input)
    params = MaskCutParams(**{field.name: cfg.maskcut[field.name] for field in fields(MaskCutParams)})
    extractor = instantiate(cfg.maskcut.features)
    if cfg.maskcut.fixed_size % extractor.patch_size:
        raise ConfigError(
            f"maskcut.fixed_size={cfg.maskcut.fixed_size} is not a multiple of the patch size {extractor.patch_size} "
            f"of {cfg.maskcut.features.name}"
        )
    pictures = _Pictures(root, output) if cfg.overlays else None
    report = generate(
        root,
        names,
        output,
        extractor=extractor,
        params=params,
        trainer=build_trainer(cfg),
        annotation=instantiate(cfg.annotation),
        fixed_size=cfg.maskcut.fixed_size,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        threads=cfg.threads,
        part=part,
        solver=cfg.maskcut.solver,
        backend=instantiate(cfg.crf),
        settings={"input": str(Path(cfg.input).resolve()), "features": _plain(cfg.maskcut.features)},
        max_failure_rate=cfg.max_failure_rate,
        on_begin=lambda: record_run(output, cfg),
        on_found=pictures.draw if pictures else None,
        is_complete=pictures.are_drawn if pictures else None,
    )
    if pictures and report:
        write_maskcut_page(output, names, report)
        log.info("open %s", output / "index.html")
    return OutputFolder(output, part).annotations


class _Pictures:
    """For each photo its masks, and a row of panels with the steps that led to them."""

    def __init__(self, root: Path, output: Path) -> None:
        self._root = root
        self._overlays = output / "overlays"
        self._steps = output / "steps"

    def are_drawn(self, name: str) -> bool:
        return figure_path(self._overlays, name).is_file() and figure_path(self._steps, name).is_file()

    def draw(self, found: ImageMasks, record: ShardRecord) -> None:
        image = Image.fromarray(read_image(self._root / found.name))
        image.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
        pixels = np.array(image)
        masks = [rle.decode(annotation["segmentation"]) for annotation in record["annotations"]]
        save_image(figure_path(self._overlays, found.name), draw_overlay(pixels, masks))
        save_image(figure_path(self._steps, found.name), draw_steps(pixels, found))


def _plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)
