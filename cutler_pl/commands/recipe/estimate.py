"""What a stage will take: images, time and disk, each with where the number comes from; nothing is written.

Rates are those of uninterrupted stages of the same output folder, else the documented ones of the recipe, which are for
one GPU. What neither says is not measured.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.coco.stream import Batch, read_batches
from cutler_pl.commands.evaluate.plan import make_plan
from cutler_pl.commands.recipe.markers import Marker
from cutler_pl.commands.recipe.stages import Stage
from cutler_pl.commands.train_summary import BYTES_PER_WEIGHT
from cutler_pl.errors import CutlerError
from cutler_pl.images import list_images

NOT_MEASURED = "not measured"
KINDS = {"maskcut": "masks", "self_train": "predictions", "evaluate": "predictions", "train": "training"}
"""Commands whose time per image is one rate."""


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
    """

    def __init__(
        self, stages: Sequence[Stage], markers: Sequence[Marker], *, documented: DictConfig, on_gpu: bool
    ) -> None:
        self._configs = {stage.name: stage.compose() for stage in stages if stage.pipeline is not None}
        self._finished = {s.name: m for s, m in zip(stages, markers, strict=True) if m.state == "finished"}
        self._by_name = {stage.name: stage for stage in stages}
        self._documented, self._on_gpu = documented, on_gpu
        self._images = next((work.images for work in map(self._own_work, stages) if work.images), None)

    def work(self, stage: Stage) -> Work:
        """Images that go through the stage, repeated ones of a training counted each time."""
        work = self._own_work(stage)
        return work._replace(images=self._images) if stage.pipeline == "self_train" else work

    def time(self, stage: Stage) -> Amount:
        """Seconds for the whole stage."""
        marker, images = self._finished.get(stage.name), self.work(stage).images
        if marker is not None and marker.seconds is not None:
            return Amount(marker.seconds, "measured, this stage")
        if images is None:
            return Amount(None, NOT_MEASURED)
        for name, other in reversed(self._finished.items()):
            done = self._by_name[name]
            if _kind(done) == _kind(stage) and other.seconds and (of_it := self.work(done).images):
                return Amount(images * other.seconds / of_it, f"measured here, rate of {name}")
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
