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
from cutler_pl.reports.maskcut import picture_of, write_maskcut_page
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)

_PICTURE_SIDE = 1024
_PANEL_HEIGHT = 256


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
        return picture_of(self._overlays, name).is_file() and picture_of(self._steps, name).is_file()

    def draw(self, found: ImageMasks, record: ShardRecord) -> None:
        photo = Image.fromarray(read_image(self._root / found.name))
        photo.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
        masks = [_resized(rle.decode(a["segmentation"]), photo.size) for a in record["annotations"]]
        stack = np.stack(masks) if masks else np.zeros((0, photo.height, photo.width), bool)
        save_image(picture_of(self._overlays, found.name), draw_instances(np.array(photo), stack))
        save_image(picture_of(self._steps, found.name), _steps(found, photo))


def _steps(found: ImageMasks, photo: Image.Image) -> np.ndarray:
    """Photo, eigenvector of each round, masks before and after the refinement, in the photo's proportions."""
    width = max(1, round(photo.width * _PANEL_HEIGHT / photo.height))
    small = np.array(photo.resize((width, _PANEL_HEIGHT), Image.Resampling.LANCZOS))
    panels, titles = [small], ["photo"]
    for number, vector in enumerate(found.eigenvectors, start=1):
        panels.append(draw_heatmap(small, vector))
        titles.append(f"eigenvector {number}")
    for title, masks in (("before the CRF", found.coarse), ("after the CRF", found.refined)):
        resized = np.stack([_resized(mask, (width, _PANEL_HEIGHT)) for mask in masks.numpy()])
        panels.append(draw_instances(small, resized))
        titles.append(title)
    return side_by_side(panels, titles)


def _resized(mask: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize(size_wh, Image.Resampling.NEAREST))


def _plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)
