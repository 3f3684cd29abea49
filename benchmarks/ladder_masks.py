"""Raw masks of the ladder: every generator on scenes of three difficulties and on small real sets."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.utils import instantiate
from ladder_cells import Cell, Result
from ladder_data import NUM_TEST, SCENES, Data, real_sets, test_scenes, test_seed
from ladder_report import METRICS
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.maskcut import build_generator, build_predictor
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.predictor import MaskPredictor
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.files import file_digest


def settings_of(overrides: Sequence[str]) -> DictConfig:
    """The settings of `cutler maskcut` on `patch_descriptors`, with scores."""
    fixed = ["input=.", "output=.", "maskcut=patch_descriptors", "annotation.scores=true", "trainer=cpu"]
    return compose("maskcut", overrides=[*fixed, *overrides])


@cache
def constants_of(overrides: tuple[str, ...]) -> dict[str, Any]:
    """What the masks of a row depend on; option files may change the values behind the same settings."""
    cfg = settings_of(overrides)
    backbones = OmegaConf.to_container(cfg.maskcut, resolve=True)["backbones"]  # type: ignore[index, call-overload]
    return {
        "overrides": list(overrides),
        "generator": build_generator(cfg).constants(),
        "features": backbones or cfg.maskcut.features.name,
        "fixed_size": cfg.maskcut.fixed_size,
    }


def mask_cells(
    seed: int, *, rows: Mapping[str, tuple[str, ...]], work: Path, sets: Sequence[str] = tuple(SCENES)
) -> Iterator[Cell]:
    """The rows on the generated scenes of one seed."""
    for data, (row, overrides) in itertools.product(sets, rows.items()):
        settings = {
            "scenes": asdict(SCENES[data]),
            "count": NUM_TEST,
            "seed": test_seed(data, seed),
            "masks": constants_of(overrides),
        }
        measure = partial(_measure_scenes, overrides, data, seed, work)
        yield Cell("masks", row, data, seed, settings, measure)


def _measure_scenes(overrides: Sequence[str], data: str, seed: int, work: Path) -> Result:
    return measure_masks(settings_of(overrides), test_scenes(work, data, seed))


def real_cells(folder: Path, *, rows: Mapping[str, tuple[str, ...]], work: Path) -> Iterator[Cell]:
    """The rows on the real sets of a folder, which have no seed of their own."""
    for (name, data), (row, overrides) in itertools.product(real_sets(folder, work), rows.items()):
        settings = {"data": name, "sha256": file_digest(data.annotations), "masks": constants_of(overrides)}
        yield Cell("masks", row, name, 0, settings, partial(_measure_real, overrides, data))


def _measure_real(overrides: Sequence[str], data: Data) -> Result:
    return measure_masks(settings_of(overrides), data)


def measure_masks(cfg: DictConfig, data: Data) -> Result:
    """AP, AP50, AR100 of boxes and masks, and the CPU seconds per image of each part."""
    coco = json.loads(data.annotations.read_text(encoding="utf-8"))
    predictor = build_predictor(cfg)
    side = cfg.maskcut.fixed_size
    predictor.predict(["warm-up"], torch.zeros(1, 3, side, side, dtype=torch.uint8))  # kernels are compiled
    watch = Stopwatch(predictor)
    found = [one for record in coco["images"] for one in find_masks(cfg, predictor, data.images, record)]
    metrics = evaluate_coco(coco, found, iou_types=("bbox", "segm") if data.has_masks else ("bbox",))
    count = len(coco["images"])
    return {
        **{kind: {name: round(values[name], 3) for name in METRICS} for kind, values in metrics.items()},
        "masks_per_image": round(len(found) / count, 3),
        "seconds_per_image": watch.per_image(count),
    }


def find_masks(
    cfg: DictConfig, predictor: MaskPredictor, images: Path, record: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The masks of an image as COCO results."""
    image = read_image(images / record["file_name"])
    square = resize_to_square(image, cfg.maskcut.fixed_size)[None]
    (masks,) = predictor.predict([record["file_name"]], square)
    assert masks is not None
    encoded, _ = encode_masks(masks, image.shape[:2], params=instantiate(cfg.annotation))
    return [{**one, "image_id": record["id"], "category_id": 1} for one in encoded]


class Stopwatch:
    """CPU seconds that a predictor spends on features, on the generator, and on all of it with the refinement."""

    def __init__(self, predictor: MaskPredictor) -> None:
        self.features = self.cut = self.total = 0.0
        extractors, propose = predictor.extractors, predictor.generator.propose
        predictor.predict = self._timed(predictor.predict, "total")  # type: ignore[method-assign]
        predictor.extractors = {name: self._timed(extractor, "features") for name, extractor in extractors.items()}
        predictor.generator = _Timed(predictor.generator, self._timed(propose, "cut"))  # type: ignore[assignment]

    def per_image(self, count: int) -> dict[str, float]:
        """Seconds per image of each part."""
        refinement = self.total - self.features - self.cut
        parts = {"features": self.features, "cut": self.cut, "refinement": refinement}
        return {name: round(seconds / count, 5) for name, seconds in parts.items()}

    def _timed(self, call: Any, part: str) -> Any:
        def timed(*args: Any) -> Any:
            start = time.process_time()
            result = call(*args)
            setattr(self, part, getattr(self, part) + time.process_time() - start)
            return result

        return timed


class _Timed:
    """A generator whose `propose` is another one."""

    def __init__(self, generator: Any, propose: Any) -> None:
        self._generator, self.propose = generator, propose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)
