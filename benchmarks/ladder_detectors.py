"""Detectors of the ladder: the quickstart's training on the masks of each generator and with each option.

One seed is one set of scenes, one order of the images and one start of the weights, for every row. What rows share,
such as the masks of a generator, is made once and kept below the work folder.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose
from ladder_calibration import score_map
from ladder_cells import Cell, Result
from ladder_data import NUM_TEST, NUM_TRAIN, Data, test_scenes, test_seed, train_scenes, train_seed
from ladder_masks import constants_of
from ladder_report import METRICS
from ladder_rows import Arm

from cutler_pl.commands import evaluate, maskcut, recipe, self_train, train
from cutler_pl.commands.result_cache import read_cached, write_cached
from cutler_pl.runtime.files import write_json

STEPS, STEPS_ROUND, THRESHOLD = 260, 100, 0.7
"""As in `conf/recipe/quickstart.yaml`: steps of the training and of a self-training round, and its least score."""


@dataclass(frozen=True)
class Place:
    """A seed, and where its work is kept."""

    seed: int
    work: Path

    @property
    def train(self) -> Data:
        """Scenes to learn from."""
        return train_scenes(self.work, self.seed)

    @property
    def test(self) -> Data:
        """Scenes to measure on."""
        return test_scenes(self.work, "middle", self.seed)


@dataclass(frozen=True)
class Made:
    """A folder that is kept, and the CPU seconds that it took."""

    folder: Path
    seconds: float


def detector_cells(seed: int, *, arms: Mapping[str, Arm], work: Path) -> Iterator[Cell]:
    """The rows of one seed."""
    for row, arm in arms.items():
        settings = {
            "scenes": [NUM_TRAIN, train_seed(seed), NUM_TEST, test_seed("middle", seed)],
            "steps": [STEPS, STEPS_ROUND, THRESHOLD],
            "masks": constants_of(arm.masks),
            **({"calibrated": True} if arm.calibrated else {}),
            "training": arm.training,
            "round": arm.round,
            "continued": arm.continued,
            "evaluation": arm.evaluation,
        }
        yield Cell("detectors", row, "middle", seed, settings, partial(_measure, arm, Place(seed, work)))


def _measure(arm: Arm, place: Place) -> Result:
    masks = _find_masks(arm, place)
    if arm.calibrated:
        masks = _calibrate(arm, place, masks)
    made = [masks, _train(arm, place, masks)]
    if arm.round is not None:
        made += _self_train(arm, place, masks, made[-1])
    if arm.continued is not None:
        made.append(_continue(arm, place, masks, made[-1]))
    metrics = _evaluate(arm, place, made[-1])
    parts = {"masks": masks.seconds, "training": sum(one.seconds for one in made[1:])}
    return metrics | {"cpu_seconds": {name: round(seconds, 1) for name, seconds in parts.items()}}


def _find_masks(arm: Arm, place: Place) -> Made:
    def find(folder: Path) -> None:
        fixed = {"input": place.train.images, "output": folder, "maskcut": "patch_descriptors"}
        fixed |= {"annotation.scores": True, "num_workers": 0, "trainer": "cpu"}
        maskcut.run(compose("maskcut", overrides=[*_overrides(fixed), *arm.masks]))

    return _made(place, "masks", {"masks": constants_of(arm.masks)}, find)


def _calibrate(arm: Arm, place: Place, masks: Made) -> Made:
    """The same masks, with scores that are shares of right masks; the seconds are those of the masks."""
    pairs = score_map(arm.masks, place.work)

    def write(folder: Path) -> None:
        coco = json.loads((masks.folder / "annotations.json").read_text(encoding="utf-8"))
        points, values = zip(*pairs, strict=True)
        for one in coco["annotations"]:
            one["score"] = round(float(np.interp(one["score"], points, values)), 4)
        write_json(folder / "annotations.json", coco)

    return replace(_made(place, "calibrated", {"masks": masks.folder.name, "map": pairs}, write), seconds=masks.seconds)


def _train(arm: Arm, place: Place, masks: Made) -> Made:
    def run(folder: Path) -> None:
        fixed = _training(place, masks, folder) | {"experiment": "quickstart", "trainer.max_steps": STEPS}
        train.run(compose("train", overrides=[*_overrides(fixed), *arm.training]))

    settings = {"masks": constants_of(arm.masks), "training": arm.training, "steps": STEPS}
    return _made(place, "training", settings | ({"calibrated": masks.folder.name} if arm.calibrated else {}), run)


def _self_train(arm: Arm, place: Place, masks: Made, first: Made) -> list[Made]:
    assert arm.round is not None
    checkpoint = first.folder / "checkpoints" / "last.ckpt"

    def select(folder: Path) -> None:
        fixed = {"checkpoint": checkpoint, "images": place.train.images, "output": folder, "threshold": THRESHOLD}
        fixed |= {"annotations": masks.folder / "annotations.json", "num_workers": 0, "trainer": "cpu"}
        self_train.run(compose("self_train", overrides=_overrides(fixed)))

    def run(folder: Path) -> None:
        fixed = _training(place, merged, folder) | {"experiment": "quickstart_self_train", "model.init": checkpoint}
        fixed["trainer.max_steps"] = STEPS_ROUND
        train.run(compose("train", overrides=[*_overrides(fixed), *(arm.round or ())]))

    before = {"first": first.folder.name}
    merged = _made(place, "merged", before, select)
    return [merged, _made(place, "training", before | {"round": arm.round, "steps": STEPS_ROUND}, run)]


def _continue(arm: Arm, place: Place, masks: Made, first: Made) -> Made:
    assert arm.continued is not None

    def run(folder: Path) -> None:
        fixed = _training(place, masks, folder) | {"model.init": first.folder / "checkpoints" / "last.ckpt"}
        fixed["trainer.max_steps"] = STEPS_ROUND
        train.run(compose("train", overrides=[*_overrides(fixed), *(arm.continued or ())]))

    settings = {"first": first.folder.name, "continued": arm.continued, "steps": STEPS_ROUND}
    return _made(place, "training", settings, run)


def _evaluate(arm: Arm, place: Place, trained: Made) -> Result:
    target = place.work / "evaluations" / trained.folder.name
    shutil.rmtree(target, ignore_errors=True)
    fixed = {"checkpoint": trained.folder / "checkpoints" / "last.ckpt", "output": target, "num_examples": 0}
    fixed |= {"images": place.test.images, "annotations": place.test.annotations, "num_workers": 0, "trainer": "cpu"}
    start = time.process_time()
    file = evaluate.run(compose("evaluate", overrides=[*_overrides(fixed), *arm.evaluation]))
    seconds = time.process_time() - start
    (metrics,) = json.loads(file.read_text(encoding="utf-8")).values()
    found = {kind: {name: round(metrics[kind][name], 3) for name in METRICS} for kind in ("bbox", "segm")}
    return found | {"evaluation_seconds_per_image": round(seconds / NUM_TEST, 4)}


def _training(place: Place, labels: Made, folder: Path) -> dict[str, Any]:
    """Settings of every training."""
    return {
        "seed": place.seed,
        "data.images": place.train.images,
        "data.annotations": labels.folder / "annotations.json",
        "data.num_workers": 0,
        "callbacks.progress": None,
        "callbacks.visual_samples": None,
        "paths.output_dir": folder,
    }


def _made(place: Place, kind: str, settings: Mapping[str, Any], make: Callable[[Path], None]) -> Made:
    """The folder of these settings, made anew unless it was finished before."""
    settings = {**settings, "seed": place.seed}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    folder = place.work / kind / f"{place.seed}_{digest[:12]}"
    record = folder.with_suffix(".json")
    if (content := read_cached(record, settings)) is not None:
        return Made(folder, content["seconds"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.process_time()
    make(folder)
    seconds = round(time.process_time() - start, 2)
    write_cached(record, settings, seconds=seconds)
    return Made(folder, seconds)


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return recipe.format_overrides({name: str(v) if isinstance(v, Path) else v for name, v in settings.items()})
