"""What a stage will take: images, time and disk, each with where the number comes from; nothing is written.

Rates are those of uninterrupted stages of the same output folder; else, for a recipe with `recipe.estimate`, of a trial
on this machine and its constants; else the documented ones of the recipe, which are for one GPU. What none says is not
measured. A training with a time budget takes that at most.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.coco.stream import Batch, read_batches
from cutler_pl.commands.evaluate.plan import make_plan
from cutler_pl.commands.recipe.markers import Marker, read_marker
from cutler_pl.commands.recipe.stages import Stage, fingerprints
from cutler_pl.commands.result_cache import read_record
from cutler_pl.commands.train_summary import BYTES_PER_WEIGHT
from cutler_pl.errors import CutlerError
from cutler_pl.images import list_images
from cutler_pl.runtime.files import write_json

ESTIMATES = "estimates.json"
NOT_MEASURED = "not measured"
KINDS = {"maskcut": "masks", "self_train": "predictions", "evaluate": "predictions", "train": "training"}
"""Commands whose time per image is one rate."""
TRIED_KINDS = {**KINDS, "predict": "predictions", "quality": "masks"}
"""What of them a trial measures."""


class Amount(NamedTuple):
    """A number of seconds or bytes, None where it is not known, and its source."""

    value: float | None
    source: str


class Work(NamedTuple):
    """What a stage has to do."""

    images: int | None = None
    steps: int | None = None
    why_unknown: str = ""


class Estimator:
    """Estimates of the stages of one recipe.

    Args:
        stages: All of them.
        markers: Their states.
        documented: `seconds` and `bytes` per image by kind and command, and the `machine` of the times; may be empty.
        on_gpu: Whether documented times are of any use.
        constants: `seconds` per image, `start` in seconds and `bytes` per image by command or stage, `machine`, and
            `tried`, a function that gives seconds per image by kind; None where there are none.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        markers: Sequence[Marker],
        *,
        documented: DictConfig,
        on_gpu: bool,
        constants: DictConfig | None = None,
    ) -> None:
        self._configs = {stage.name: stage.compose() for stage in stages if stage.pipeline is not None}
        self._finished = {s.name: m for s, m in zip(stages, markers, strict=True) if m.state == "finished"}
        self._by_name = {stage.name: stage for stage in stages}
        self._documented, self._on_gpu, self._constants = documented, on_gpu, constants
        self._images = next((work.images for work in map(self._own_work, stages) if work.images), None)

    def work(self, stage: Stage) -> Work:
        """Images that go through the stage, repeated ones of a training counted each time."""
        work = self._own_work(stage)
        known = stage.pipeline == "self_train" or _name(stage) in self._of("start")
        return work._replace(images=self._images) if known and work.images is None else work

    def time(self, stage: Stage) -> Amount:
        """Seconds for the whole stage."""
        marker, images = self._finished.get(stage.name), self.work(stage).images
        if marker is not None and marker.seconds is not None:
            return Amount(marker.seconds, "measured, this stage")
        if images is None:
            return Amount(None, NOT_MEASURED)
        cfg = self._configs.get(stage.name)
        budget = None if cfg is None else OmegaConf.select(cfg, "callbacks.time_budget.seconds")
        for name, other in reversed(self._finished.items()):
            done = self._by_name[name]
            if _kind(done) == _kind(stage) and other.seconds and (of_it := self.work(done).images):
                seconds = images * other.seconds / of_it
                return _at_most(budget, Amount(seconds, f"measured here, rate of {name}"))
        if _name(stage) in self._of("start"):
            return _at_most(budget, self._from_constants(stage, images))
        rate = self._documented_rate("seconds", _kind(stage)) if self._on_gpu else None
        return Amount(None, NOT_MEASURED) if rate is None else Amount(images * rate, f"documented, {self._machine()}")

    def disk(self, stage: Stage) -> Amount:
        """Bytes that stay in its folder."""
        if stage.name in self._finished:
            return Amount(_size(stage.folder), "measured, this stage")
        if stage.pipeline == "train":
            return Amount(self._size_of_checkpoints(self._configs[stage.name]), "size of the weights")
        images = self.work(stage).images
        if images is None:
            return Amount(None, NOT_MEASURED)
        for name in reversed(self._finished):
            done = self._by_name[name]
            if done.pipeline == stage.pipeline and (of_it := self.work(done).images):
                return Amount(images * _size(done.folder) / of_it, f"measured here, rate of {name}")
        if (constant := self._of("bytes").get(_name(stage))) is not None:
            return Amount(images * constant, "documented")
        rate = self._documented_rate("bytes", stage.pipeline)
        return Amount(None, NOT_MEASURED) if rate is None else Amount(images * rate, "documented")

    def _own_work(self, stage: Stage) -> Work:
        """What the settings of the stage alone say."""
        cfg = self._configs.get(stage.name)
        with suppress(CutlerError):
            if stage.pipeline in ("maskcut", "predict") and cfg is not None:
                return Work(_count_files(str(cfg.input)))
            if stage.pipeline == "train" and cfg is not None:
                steps = int(cfg.trainer.max_steps)
                return Work(steps * cfg.data.batch_size * cfg.trainer.accumulate_grad_batches, steps)
            if stage.pipeline == "evaluate" and cfg is not None:
                return Work(sum(_count_records(task.annotations) for task in make_plan(cfg).tasks))
        return Work()

    def _of(self, what: str) -> Mapping[str, float]:
        return {} if self._constants is None else self._constants[what]

    def _from_constants(self, stage: Stage, images: int) -> Amount:
        """Start and seconds per image, of which a trial on this machine gives the larger part."""
        name = _name(stage)
        tried = self._tried.get(TRIED_KINDS.get(name, ""))
        cut = images
        if name == "quality":  # a second run on a sample
            cfg = self._configs[stage.name]
            cut = min(images, cfg.agreement_images) if cfg.agreement is not None else 0
        seconds = self._of("start")[name] + images * self._of("seconds").get(name, 0.0) + cut * (tried or 0.0)
        source = f"documented, {self._constants.machine}" if self._constants else ""
        return Amount(seconds, source if tried is None else "tried on this machine")

    @cached_property
    def _tried(self) -> Mapping[str, float]:
        """Seconds per image by kind, of the stages that are not finished."""
        if self._constants is None:
            return {}
        known = {_kind(self._by_name[name]) for name in self._finished}
        configs = {self._by_name[name].pipeline: cfg for name, cfg in reversed(self._configs.items())}
        wanted = {str(name): cfg for name, cfg in configs.items() if KINDS.get(str(name)) not in known}
        tried: Mapping[str, float] = get_method(self._constants.tried)(wanted)
        return tried

    def _documented_rate(self, what: str, kind: str | None) -> float | None:
        rate = (self._documented.get(what) or {}).get(kind)
        return None if rate is None else float(rate)

    def _machine(self) -> str:
        return str(self._documented.get("machine", ""))

    @staticmethod
    def _size_of_checkpoints(cfg: DictConfig) -> float:
        with torch.device("meta"):
            model = instantiate(cfg.model.detector)(num_classes=1)
        weights = sum(parameter.numel() for parameter in model.parameters())
        every, kept = (OmegaConf.select(cfg, f"callbacks.checkpoint.{key}") for key in ("every_n_steps", "save_top_k"))
        written = math.ceil(cfg.trainer.max_steps / every) if every else 0
        return float(weights * BYTES_PER_WEIGHT * (min(written, kept) if kept else written))


def make_estimator(cfg: DictConfig, stages: Sequence[Stage], markers: Sequence[Marker]) -> Estimator:
    """The estimator of a recipe, with the numbers that it documents."""
    documented = cfg.recipe.get("documented") or OmegaConf.create()
    on_gpu = cfg.recipe.get("trainer", "cpu") != "cpu"
    return Estimator(stages, markers, documented=documented, on_gpu=on_gpu, constants=cfg.recipe.get("estimate"))


def note_estimates(cfg: DictConfig, stages: Sequence[Stage], output: Path) -> dict[str, float]:
    """Seconds of each stage that is to do, also in `estimates.json`; those of finished stages stay as they were."""
    markers = [read_marker(stage, its) for stage, its in zip(stages, fingerprints(stages), strict=True)]
    estimator = make_estimator(cfg, stages, markers)
    noted = read_record(output / ESTIMATES) or {}
    found = {name: noted[name] for name in (stage.name for stage in stages) if isinstance(noted.get(name), float)}
    for stage, marker in zip(stages, markers, strict=True):
        if marker.state != "finished" and (seconds := estimator.time(stage).value) is not None:
            found[stage.name] = round(float(seconds), 1)
    write_json(output / ESTIMATES, found, indent=2)
    return found


def _name(stage: Stage) -> str:
    return stage.pipeline or stage.name


def _at_most(budget: float | None, amount: Amount) -> Amount:
    if budget is None or (amount.value is not None and amount.value < budget):
        return amount
    return Amount(float(budget), "budget")


def _kind(stage: Stage) -> str | None:
    return KINDS.get(str(stage.pipeline), stage.pipeline)


@cache
def _count_files(images: str) -> int:
    return len(list_images(images)[1])


@cache
def _count_records(annotations: Path) -> int:
    """Images of a COCO file."""
    return sum(len(b) for key, b in read_batches(annotations) if key == "images" and isinstance(b, Batch))


def _size(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()))
