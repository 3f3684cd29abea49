"""Pseudo-masks of images, with figures on request."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from cutler_pl.coco import rle
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.coco.schema import RLE
from cutler_pl.commands.chosen_features import chosen_extractors, recorded_features, require_features
from cutler_pl.commands.instantiate import build_trainer
from cutler_pl.commands.run_metadata import plain, record_run
from cutler_pl.commands.tiling import tiling
from cutler_pl.errors import ConfigError
from cutler_pl.generators.votecut import VoteCut
from cutler_pl.images import list_images
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.generator import Generator, MaskCutGenerator
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import Extractor, ImageMasks, MaskPredictor
from cutler_pl.maskcut.splitting import build_splitter
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import JobShard, RunOptions
from cutler_pl.pseudo_masks.output_folder import OutputFolder
from cutler_pl.reports.maskcut import draw_overlay, draw_steps, write_maskcut_page
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.figure_path import figure_path, names_alike
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Find masks as `conf/maskcut.yaml` describes.

    Returns:
        The COCO file; for a part of a job array, its future path. With `compare=` the page.

    Raises:
        ConfigError: No features are chosen, or settings cannot work or differ from the output's.
        DatasetNotFoundError: There are no images.
        CheckpointError: The features' weights cannot be loaded.
        OutputLockedError: Another run writes into the output folder.
        TooManyFailuresError: Too many images failed.
    """
    if cfg.compare is not None:
        from cutler_pl.commands.compare import compare  # here, since it builds its generators as this module does

        return compare(cfg)
    output = Path(cfg.output)
    require_features(cfg)
    root, names = list_images(cfg.input)
    annotation: AnnotationParams = instantiate(cfg.annotation)
    predictor = build_predictor(cfg)
    options = RunOptions(
        fixed_size=cfg.maskcut.fixed_size,
        annotation=annotation,
        settings={"input": str(Path(cfg.input).resolve()), **_features(cfg)},
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        threads=cfg.threads,
        max_failure_rate=cfg.max_failure_rate,
        tiles=tiling(cfg),
        shard=JobShard(int(cfg.job.index), int(cfg.job.count)),
    )
    observer = _Figures(cfg, output, names) if cfg.overlays else _RunRecord(cfg, output)
    report = generate(
        root, names, output, predictor=predictor, trainer=build_trainer(cfg), options=options, observer=observer
    )
    if cfg.overlays and report:
        write_maskcut_page(output, names, report, generator=predictor.generator.name)
        log.info("open %s", output / "index.html")
    return OutputFolder(output).annotations


def _features(cfg: DictConfig) -> dict[str, Any]:
    """What the record of the run says of its features."""
    recorded = recorded_features(cfg)
    if cfg.maskcut.backbones is None:
        return recorded
    return {**recorded, "features": {"name": "several"}, "backbones": plain(cfg.maskcut)["backbones"]}


def build_predictor(cfg: DictConfig, extractors: Mapping[str, Extractor] | None = None) -> MaskPredictor:
    """Features, generator and refinement as the settings say; `extractors` stand for those of the settings.

    Raises:
        ConfigError: No features are chosen, the size is no multiple of the patch size, or the generator cannot be
            perturbed as `confidence=` says.
        CheckpointError: The features' weights cannot be loaded.
    """
    generator = build_generator(cfg)
    if cfg.maskcut.get("backbones") is not None and not isinstance(generator, VoteCut):
        raise ConfigError(
            f"maskcut.backbones: generator={generator.name} takes one backbone, that of maskcut=; only "
            "generator=votecut takes several"
        )
    return MaskPredictor(
        extractors or chosen_extractors(cfg),
        generator,
        backend=instantiate(cfg.crf),
        keep_features=build_splitter(instantiate(cfg.annotation)).needs_features,
        confidence=instantiate(cfg.confidence) if "_target_" in cfg.get("confidence", {}) else None,
    )


def build_generator(cfg: DictConfig) -> Generator:
    """The generator that `generator=` names; MaskCut's options are those of `maskcut=`.

    Raises:
        ConfigError: An option cannot work.
    """
    if "_target_" in cfg.generator:
        generator: Generator = instantiate(cfg.generator)
        return generator
    params = MaskCutParams(**{field.name: cfg.maskcut[field.name] for field in fields(MaskCutParams)})
    return MaskCutGenerator(params, solver=cfg.maskcut.solver)


class _RunRecord(Observer):
    """Records the run when it begins."""

    def __init__(self, cfg: DictConfig, output: Path) -> None:
        self._cfg, self._output = cfg, output

    def on_start(self) -> None:
        record_run(self._output, self._cfg)


class _Figures(_RunRecord):
    """Draws the masks and the steps of each image."""

    preview_side = 1024

    def __init__(self, cfg: DictConfig, output: Path, names: Sequence[str]) -> None:
        super().__init__(cfg, output)
        self._alike = names_alike(names)

    def is_complete(self, name: str) -> bool:
        return all(self._path(folder, name).is_file() for folder in ("overlays", "steps"))

    def on_image(self, masks: Sequence[ImageMasks], record: ShardRecord, preview: np.ndarray | None) -> None:
        assert preview is not None  # asked for by preview_side
        objects = [rle.decode(cast(RLE, annotation["segmentation"])) for annotation in record["annotations"]]
        save_image(self._path("overlays", record["file"]), draw_overlay(preview, objects))
        shown = max(masks, key=lambda tile: int(tile.refined.sum()))  # the tile with the most to see
        pixels = preview if len(masks) == 1 else shown.image.permute(1, 2, 0).cpu().numpy()
        save_image(self._path("steps", record["file"]), draw_steps(pixels, shown))

    def _path(self, folder: str, name: str) -> Path:
        return figure_path(self._output / folder, name, alike=self._alike)
