"""The stages of a recipe, and what each depends on."""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from cutler_pl.commands.overrides import format_overrides
from cutler_pl.commands.paths import check_paths
from cutler_pl.commands.resolvers import stage_folder
from cutler_pl.commands.unused import check_used
from cutler_pl.commands.values import check_values
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.version import VERSION

_WITHOUT_EFFECT = frozenset({
    "num_workers", "threads", "batch_size", "data.num_workers", "data.index_dir", "trainer.devices",
    "trainer.num_nodes",
})  # fmt: skip

_GO_ON: dict[str, dict[str, Any]] = {
    "maskcut": {}, "predict": {}, "self_train": {}, "evaluate": {}, "train": {"resume": "auto"},
}  # fmt: skip
"""Commands that go on in the folder of an interrupted run, with the settings that this takes."""


@dataclass(frozen=True)
class Stage:
    """One step of a recipe: a pipeline with overrides, or a function call.

    Attributes:
        given: Names of the user's own overrides.
        needs: Names of stages that it depends on, besides those whose folders its settings name.
    """

    name: str
    folder: Path
    pipeline: str | None
    overrides: Mapping[str, Any]
    call: DictConfig | None
    given: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

    @property
    def command(self) -> str | None:
        """The equivalent command line; None for a function call."""
        if self.pipeline is None:
            return None
        return " ".join(["cutler", self.pipeline, *(shlex.quote(o) for o in format_overrides(self.overrides))])

    def settings(self) -> dict[str, Any]:
        """Everything the stage's own result depends on."""
        call = None if self.call is None else OmegaConf.to_container(self.call, resolve=True)
        overrides = {key: value for key, value in self.overrides.items() if key not in _WITHOUT_EFFECT}
        return {"name": self.name, "pipeline": self.pipeline, "overrides": overrides, "call": call}

    def depends_on(self, other: "Stage") -> bool:
        """Whether its result depends on that of an earlier stage."""
        return other.name in self.needs or any(_is_within(text, str(other.folder)) for text in _texts(self.settings()))

    @property
    def can_go_on(self) -> bool:
        """Whether an interrupted run of it is worth keeping."""
        return self.pipeline in _GO_ON

    def compose(self, *, interrupted: bool = False) -> DictConfig:
        """The config of the pipeline, checked except for its paths, which an earlier stage may have to write."""
        overrides = format_overrides({**self.overrides, **(_GO_ON[str(self.pipeline)] if interrupted else {})})
        cfg = compose(str(self.pipeline), overrides=overrides)
        check_values(str(self.pipeline), cfg)
        check_used(str(self.pipeline), cfg, overrides, given=self.given)
        return cfg

    def check(self) -> None:
        """Check its settings."""
        if self.pipeline is not None:
            self.compose()

    def check_paths(self) -> None:
        """Check its paths, once the stages before it are finished."""
        if self.pipeline is not None:
            check_paths(self.pipeline, self.compose())

    def run(self, *, interrupted: bool = False) -> None:
        """Run the stage in its folder, or go on with an interrupted run of it."""
        if self.call is not None:
            instantiate(self.call)
            return
        pipeline: Callable[[DictConfig], Any] = get_method(f"cutler_pl.commands.{self.pipeline}.run")
        cfg = self.compose(interrupted=interrupted)
        check_paths(str(self.pipeline), cfg)
        pipeline(cfg)


def with_rounds(cfg: DictConfig) -> DictConfig:
    """A copy in which every entry with `repeat` is replaced by its stages, `<name>_<number>`, once for each value.

    They read `recipe.round`: `number` from 1, `before`, and `value`.
    """
    cfg = cfg.copy()
    stages: dict[str, Any] = {}
    for name, entry in cfg.recipe.stages.items():
        if "repeat" not in entry:
            stages[str(name)] = entry
            continue
        for number, value in enumerate(entry.repeat, 1):
            with open_dict(cfg):
                cfg.recipe.round = {"number": number, "before": number - 1, "value": value}
            for stage, template in entry.stages.items():
                stages[f"{stage}_{number}"] = OmegaConf.to_container(template, resolve=True)
    with open_dict(cfg):
        cfg.recipe.stages = stages
    return cfg


def read_stages(cfg: DictConfig, *, maskcut_settings: Mapping[str, Any] | None = None) -> list[Stage]:
    """Stages of `cfg.recipe`, as `with_rounds` writes them, each with its `stage_folder`.

    Args:
        maskcut_settings: Further overrides of each MaskCut stage.

    Raises:
        ConfigError: A stage does not have exactly one of `pipeline` and `call`.
    """
    stages = []
    for name, entry in cfg.recipe.stages.items():
        if ("pipeline" in entry) == ("call" in entry):
            raise ConfigError(f"recipe.stages.{name} needs either 'pipeline' or 'call', not both and not neither")
        pipeline = entry.get("pipeline")
        given = _plain(entry.get("settings")) | (dict(maskcut_settings or {}) if pipeline == "maskcut" else {})
        settings = _plain(entry.get("overrides")) | given
        folder = Path(stage_folder(str(name), _root_=cfg))
        needs = frozenset(entry.get("needs", ()))
        stages.append(Stage(str(name), folder, pipeline, settings, entry.get("call"), frozenset(given), needs))
    return stages


def fingerprints(stages: Sequence[Stage]) -> list[str]:
    """What each stage depends on, in short: its settings, and what the earlier stages that it reads depend on."""
    found: list[str] = []
    for stage in stages:
        before = [its for other, its in zip(stages, found, strict=False) if stage.depends_on(other)]
        dependencies = json.dumps([VERSION, *before, stage.settings()], sort_keys=True)
        found.append(hashlib.sha256(dependencies.encode()).hexdigest())
    return found


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)


def _plain(settings: DictConfig | None) -> dict[str, Any]:
    found = OmegaConf.to_container(settings or OmegaConf.create(), resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
