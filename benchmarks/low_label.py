"""Learning from few labels: a detector from scratch beside one that this project pretrained without any label.

    python benchmarks/low_label.py                        everything, three seeds: over an hour on one core
    python benchmarks/low_label.py --pretrained a.ckpt b.ckpt c.ckpt    detectors of finished quickstarts, one per seed
    python benchmarks/low_label.py --quick                one seed, a few steps: does the script run?

Scenes are generated as in the quickstart. Without labels (one seed = one set of scenes): the quickstart's recipe, that
is MaskCut of the training scenes, a cascade, one round of self-training. With labels: 5 and 20 % of the same training
scenes, the 5 % among the 20 %, for the same number of steps from (a) scratch and (b) the pretrained weights, measured
on scenes that neither has seen. The two trainings differ in their start weights and in nothing else (`arm_overrides`):
data, order, views, steps, learning rates, and the multiplier of the last layers, which the semi-supervised experiments
have as well. "Same budget" means the steps with labels; the time of pretraining is in its recipe's folder.

Finished work is kept in the output folder: the same command resumes.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from low_label_report import ARMS, METRICS, PRETRAINED, Result, draw, report, with_start, write_raw
from omegaconf import DictConfig

from cutler_pl.commands import evaluate, recipe, train
from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.instantiate import SCRATCH
from cutler_pl.commands.result_cache import read_cached, write_cached
from cutler_pl.datasets.scenes import write_scenes
from cutler_pl.datasets.splits import draw_images, read_images, write_splits
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.logging import configure_logging
from cutler_pl.visual.curves import Curve, read_metrics, save_figure

ROOT = config_dir().parent
QUICK = {"recipe.train_scenes": 40, "recipe.test_scenes": 8, "recipe.steps": 4, "recipe.steps_round_1": 2}
WARMUP_STEPS, DECAY_AT = 10, 0.8  # as in the quickstart


@dataclass(frozen=True)
class Budget:
    """What both arms get: steps with labels, and at how many points of them the test scenes are measured."""

    steps: int
    points: int
    overrides: tuple[str, ...] = ()

    @property
    def interval(self) -> int:
        """Steps between two measurements."""
        return self.steps // self.points


@dataclass(frozen=True)
class Scenes:
    """Generated scenes of one seed; those of `test` are in no way part of the training."""

    train_images: Path
    test_images: Path
    test_annotations: Path
    labels: Mapping[float, Path]
    """Ground truth of a share of the training scenes, by percent."""


def main() -> None:
    """Pretrain or take what was pretrained, train with labels, print and draw."""
    options = read_options()
    torch.set_num_threads(1)
    configure_logging()
    os.environ.setdefault("PROJECT_ROOT", str(ROOT))
    budget = Budget(options.steps, options.points, tuple(options.set))
    sources: dict[int, str] = {}
    results: list[Result] = []
    raw = options.output / "low_label.json"
    register_params()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for seed, given in zip(options.seeds, options.pretrained or itertools.repeat(None), strict=False):
            for result, source in run_seed(seed, given, options, budget):
                results.append(result)
                sources[seed] = source
                write_raw(raw, results, sources, asdict(budget))
    report(results, sources, asdict(budget))
    svg = options.svg or options.output / "low_label.svg"
    save_figure(svg, draw(results, quick=options.quick))
    print(f"\nraw numbers: {raw}; curves: {svg}")


def run_seed(
    seed: int, given: Path | None, options: argparse.Namespace, budget: Budget
) -> Iterator[tuple[Result, str]]:
    """All trainings of one seed, and where its pretrained weights are from."""
    folder = options.output.resolve() / f"seed_{seed}"
    overrides = recipe_overrides(seed, folder / "pretraining", quick=options.quick)
    settings = compose("recipe", overrides=overrides)
    scenes = write_data(settings, folder / "scenes", percents=options.shares)
    start, source, before = None, "not needed", {}
    if PRETRAINED in options.arms:
        start = pretrain(settings, overrides) if given is None else existing(given)
        source = describe_source(settings, given)
        before = measure_unsupervised(start, scenes, folder / "unsupervised")
    for percent, arm in itertools.product(options.shares, options.arms):
        init = SCRATCH if arm == SCRATCH else str(start)
        target = folder / f"{percent:g}_percent_{arm}"
        result = train_arm(scenes, percent, arm, init=init, seed=seed, budget=budget, folder=target)
        yield (with_start(result, before) if arm == PRETRAINED else result), source


def read_options() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each has scenes of its own")
    parser.add_argument("--shares", type=float, nargs="+", default=[5.0, 20.0], help="labelled scenes in percent")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS, help="start weights")
    parser.add_argument("--steps", type=int, default=80, help="of each training with labels")
    parser.add_argument("--points", type=int, default=4, help="how often each training is measured")
    parser.add_argument("--pretrained", type=Path, nargs="+", help="a checkpoint for each seed, instead of pretraining")
    parser.add_argument("--output", type=Path, default=Path("outputs/low_label"), help="folder; finished work is kept")
    parser.add_argument("--svg", type=Path, help="where the curves go; by default into the output folder")
    parser.add_argument("--set", nargs="+", default=[], help="Hydra overrides for every training with labels")
    parser.add_argument("--quick", action="store_true", help="one seed, a few steps: a test of this script")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps, options.points = options.seeds[:1], 4, 2
    if options.pretrained and len(options.pretrained) != len(options.seeds):
        parser.error(f"--pretrained needs {len(options.seeds)} checkpoints, one for each of --seeds")
    if options.points < 1 or options.steps % options.points:
        parser.error(f"--steps {options.steps} must be a multiple of --points {options.points}")
    return options


def recipe_overrides(seed: int, output: Path, *, quick: bool) -> list[str]:
    """How the quickstart's recipe is called; it says what the scenes look like and how pretraining goes."""
    settings: dict[str, Any] = {"recipe": "quickstart", "recipe.output": str(output.resolve()), "seed": seed}
    return recipe.format_overrides(settings | (QUICK if quick else {}))


def write_data(cfg: DictConfig, folder: Path, *, percents: Sequence[float]) -> Scenes:
    """Write the recipe's scenes, this time with labels, and their labelled shares, unless they are there.

    Raises:
        ConfigError: A test scene is among the training scenes.
    """
    settings = cfg.recipe.stages.data.call
    look = instantiate(settings.scene)
    train_folder, test_folder = folder / "train", folder / "test"
    labelled = train_folder / "annotations.json"
    labels = {percent: train_folder / f"labels_{percent:g}_percent.json" for percent in percents}
    scenes = Scenes(train_folder / "images", test_folder / "images", test_folder / "annotations.json", labels)
    wanted = {"train": settings.train_scenes, "test": settings.test_scenes, "look": repr(look), "seed": cfg.seed}
    if read_cached(folder / "scenes.json", wanted) is None:
        shutil.rmtree(folder, ignore_errors=True)
        write_scenes(scenes.train_images, settings.train_scenes, look, seed=2 * cfg.seed)
        write_scenes(scenes.test_images, settings.test_scenes, look, seed=2 * cfg.seed + 1)
        write_cached(folder / "scenes.json", wanted)
    if digests(scenes.train_images) & digests(scenes.test_images):
        raise ConfigError(f"{folder}: a scene to test on is among those to train on")
    images = read_images(labelled)
    chosen = {path: draw_images(images.ids, p, seed=cfg.seed, nested=True) for p, path in labels.items()}
    write_splits(labelled, chosen, images.header)
    return scenes


def digests(folder: Path) -> set[str]:
    """Digest of each scene of a folder."""
    return {file_digest(path) for path in folder.glob("*.png")}


def pretrain(cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Run the recipe, which keeps what is finished, as a user would; the checkpoint of its self-training round."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / "recipe.py"), *overrides], check=True)
    return Path(cfg.recipe.second)


def existing(checkpoint: Path) -> Path:
    """The checkpoint, if it is one.

    Raises:
        ConfigError: There is no such file.
    """
    if not checkpoint.is_file():
        raise ConfigError(f"{checkpoint}: no such checkpoint (--pretrained)")
    return checkpoint.resolve()


def describe_source(cfg: DictConfig, given: Path | None) -> str:
    """Where the pretrained weights of a seed are from."""
    if given is not None:
        return f"{given}, given by --pretrained (SHA-256 {file_digest(given)[:12]})"
    seconds = sum(
        json.loads(path.read_text())["seconds"] for path in Path(cfg.recipe.output).glob("stages/*/stage.json")
    )
    settings = cfg.recipe
    return f"made by this run: {settings.steps} + {settings.steps_round_1} steps without labels, {seconds:.0f} s in all"


def measure_unsupervised(checkpoint: Path, scenes: Scenes, output: Path) -> dict[str, float]:
    """The pretrained detector before it sees a label."""
    settings = {
        "checkpoint": str(checkpoint),
        "images": str(scenes.test_images),
        "annotations": str(scenes.test_annotations),
        "output": str(output),
        "num_examples": 0,
        "num_workers": 0,
        "trainer": "cpu",
    }
    results = evaluate.run(compose("evaluate", overrides=recipe.format_overrides(settings)))
    (metrics,) = json.loads(results.read_text()).values()
    return {name: metrics[name.split("/")[0]][name.split("/")[1]] for name in METRICS}


def arm_overrides(
    scenes: Scenes, percent: float, *, init: str, seed: int, budget: Budget, output: Path
) -> dict[str, Any]:
    """Settings of a training with labels; of the two arms, all are equal but `model.init` and where results go."""
    return {
        "experiment": "few_shot",
        "model": "cascade_mask_rcnn_tiny",
        "model/loss": "plain",
        "data": "quickstart",
        "optimizer": "quickstart",
        "optimizer.head_lr_multiplier": 4.0,
        "scheduler": "quickstart",
        "scheduler.warmup_steps": min(WARMUP_STEPS, budget.steps // 2),
        "scheduler.milestones": [round(DECAY_AT * budget.steps)],
        "trainer": "cpu",
        "trainer.max_steps": budget.steps,
        "trainer.val_check_interval": budget.interval,
        "+trainer.enable_checkpointing": False,
        "trainer.log_every_n_steps": min(10, budget.interval),
        "data/validation": "folder",
        "callbacks.checkpoint": None,
        "callbacks.visual_samples": None,
        "callbacks.progress": None,
        "callbacks.precise_bn.num_batches": 6,
        "data.num_workers": 0,
        "data.images": str(scenes.train_images),
        "data.annotations": str(scenes.labels[percent]),
        "data.validation.images": str(scenes.test_images),
        "data.validation.annotations": str(scenes.test_annotations),
        "model.init": init,
        "seed": seed,
        "paths.output_dir": str(output),
    }


def train_arm(
    scenes: Scenes, percent: float, arm: str, *, init: str, seed: int, budget: Budget, folder: Path
) -> Result:
    """Train with labels and read the metrics, unless that was done before with the same settings."""
    overrides = arm_overrides(scenes, percent, init=init, seed=seed, budget=budget, output=folder)
    arguments = [*recipe.format_overrides(overrides), *budget.overrides]
    settings = {
        "overrides": arguments,
        "weights": init if init == SCRATCH else file_digest(init),
        "data": [file_digest(scenes.labels[percent]), file_digest(scenes.test_annotations)],
    }
    done = read_cached(folder / "result.json", settings)
    if done is None:
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        train.run(compose("train", overrides=arguments))
        curves = read_metrics(sorted(folder.glob("logs/version_*/metrics.csv")))
        points = {name: points_of(curves[f"val/{name}"]) for name in METRICS}
        done = {"points": points, "seconds": round(time.monotonic() - started, 1)}
        write_cached(folder / "result.json", settings, **done)
    return Result(seed, percent, arm, done["points"], done["seconds"])


def points_of(curve: Curve) -> dict[str, float]:
    """Metric by number of finished steps; Lightning counts from 0."""
    return {str(int(step) + 1): float(value) for step, value in zip(curve.steps, curve.values, strict=True)}


if __name__ == "__main__":
    main()
