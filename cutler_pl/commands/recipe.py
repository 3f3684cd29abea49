"""Run the stages of a recipe (`conf/recipe/*.yaml`) one after another, each in its own folder.

Finished stages are skipped; an interrupted one goes on where its command can, else it starts again in an empty folder.
A stage depends on its settings and those of the stages before it: a changed setting redoes all later stages. Settings
`maskcut.*` of the command line hold for each MaskCut stage.
"""

import hashlib
import json
import re
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.paths import check_paths
from cutler_pl.commands.resolvers import stage_folder
from cutler_pl.commands.result_cache import read_record
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.unused import check_used
from cutler_pl.commands.values import check_values
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION

log = get_logger(__name__)

DONE, BEGUN = "stage.json", "begun.json"
_GO_ON: dict[str, dict[str, Any]] = {
    "maskcut": {}, "predict": {}, "self_train": {}, "evaluate": {}, "train": {"resume": "auto"},
}  # fmt: skip
"""Commands that go on in the folder of an interrupted run, with the settings that this takes."""
_BARE = re.compile(r"[\w./+-]+")


@dataclass(frozen=True)
class Stage:
    """One step of a recipe: a pipeline with overrides, or a function call."""

    name: str
    folder: Path
    pipeline: str | None
    overrides: Mapping[str, Any]
    call: DictConfig | None

    @property
    def command(self) -> str | None:
        """The equivalent command line; None for a function call."""
        if self.pipeline is None:
            return None
        return " ".join(["cutler", self.pipeline, *(shlex.quote(o) for o in format_overrides(self.overrides))])

    def settings(self) -> dict[str, Any]:
        """Everything the stage's own result depends on."""
        call = None if self.call is None else OmegaConf.to_container(self.call, resolve=True)
        return {"name": self.name, "pipeline": self.pipeline, "overrides": dict(self.overrides), "call": call}

    def run(self, *, interrupted: bool = False) -> None:
        """Run the stage in its folder, or go on with an interrupted run of it."""
        if self.call is not None:
            instantiate(self.call)
            return
        pipeline: Callable[[DictConfig], Any] = get_method(f"cutler_pl.commands.{self.pipeline}.run")
        pipeline(self.config(_GO_ON[str(self.pipeline)] if interrupted else {}))

    def config(self, more: Mapping[str, Any]) -> DictConfig:
        """The config of its command, with more settings; its values are checked, its paths need not exist yet."""
        command, overrides = str(self.pipeline), format_overrides({**self.overrides, **more})
        cfg = compose(command, overrides=overrides)
        check_values(command, cfg)
        check_used(command, cfg, overrides)
        return cfg

    def check(self) -> None:
        """Check its settings."""
        if self.pipeline is not None:
            self.config({})

    def check_paths(self) -> None:
        """Check its paths once the stages before it are finished."""
        if self.pipeline is not None:
            check_paths(self.pipeline, self.config({}))


def run(cfg: DictConfig) -> None:
    """Run the unfinished stages of `cfg.recipe`.

    Raises:
        OutputLockedError: Another run works in the output folder.
        CutlerError: An error of a stage; the stages before it stay finished.
    """
    output = Path(cfg.recipe.output)
    stages = _with_fingerprints(read_stages(cfg, maskcut_settings=_given("maskcut.")))
    with file_lock(output, purpose="recipe"):
        for stage, fingerprint in stages:
            if not _is_finished(stage, fingerprint):
                stage.check()
        record_run(output, cfg)
        for number, (stage, fingerprint) in enumerate(stages, start=1):
            _run_stage(stage, fingerprint, f"stage {number} of {len(stages)}, {stage.name}")
    for line in cfg.recipe.closing_lines:
        log.info(line)


def read_stages(cfg: DictConfig, *, maskcut_settings: Mapping[str, Any] | None = None) -> list[Stage]:
    """Stages of `cfg.recipe`, each with its `stage_folder`.

    Args:
        maskcut_settings: Further overrides of each MaskCut stage.

    Raises:
        ConfigError: A stage does not have exactly one of `pipeline` and `call`.
    """
    stages = []
    for name, entry in cfg.recipe.stages.items():
        if ("pipeline" in entry) == ("call" in entry):
            raise ConfigError(f"recipe.stages.{name} needs either 'pipeline' or 'call', not both and not neither")
        overrides = OmegaConf.to_container(entry.get("overrides") or OmegaConf.create(), resolve=True)
        assert isinstance(overrides, dict)
        settings = {str(key): value for key, value in overrides.items()}
        pipeline = entry.get("pipeline")
        if pipeline == "maskcut":
            settings |= maskcut_settings or {}
        folder = Path(stage_folder(str(name), _root_=cfg))
        stages.append(Stage(str(name), folder, pipeline, settings, entry.get("call")))
    return stages


def _given(prefix: str) -> dict[str, Any]:
    """Settings of the command line whose names begin so."""
    if not HydraConfig.initialized():
        return {}
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {o.key_or_group: o.value() for o in overrides if o.key_or_group.startswith(prefix)}


def format_overrides(overrides: Mapping[str, Any]) -> list[str]:
    """Settings as Hydra overrides, quoted where Hydra's grammar needs it."""
    return [f"{key}={_format(value)}" for key, value in overrides.items()]


def _format(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_format, value))}]"
    text = str(value)
    if not isinstance(value, str) or _BARE.fullmatch(text):
        return text
    # Hydra's grammar: inside quotes a backslash counts only before a quote, and is then doubled
    return "'" + re.sub(r"(\\+)$", r"\1\1", re.sub(r"(\\*)'", r"\1\1\\'", text)) + "'"


def _with_fingerprints(stages: Sequence[Stage]) -> list[tuple[Stage, str]]:
    """Each stage with a digest of its settings and those of all stages before it."""
    found, fingerprint = [], VERSION
    for stage in stages:
        dependencies = json.dumps([fingerprint, stage.settings()], sort_keys=True)
        fingerprint = hashlib.sha256(dependencies.encode()).hexdigest()
        found.append((stage, fingerprint))
    return found


def _is_finished(stage: Stage, fingerprint: str) -> bool:
    record = read_record(stage.folder / DONE)
    sound = record is not None and isinstance(record.get("command"), str | None)
    return record is not None and sound and record.get("fingerprint") == fingerprint


def _run_stage(stage: Stage, fingerprint: str, title: str) -> None:
    if _is_finished(stage, fingerprint):
        log.info("%s: finished before, kept", title)
        return
    log.info("%s: %s", title, stage.command or stage.call._target_)  # type: ignore[union-attr]
    begun = stage.folder / BEGUN
    interrupted = stage.pipeline in _GO_ON and begun.is_file() and read_record(begun) == {"fingerprint": fingerprint}
    stage.check_paths()
    if stage.folder.exists() and not interrupted:
        shutil.rmtree(stage.folder)
    write_json(begun, {"fingerprint": fingerprint})
    start = time.monotonic()
    stage.run(interrupted=interrupted)
    seconds = round(time.monotonic() - start, 1)
    write_json(stage.folder / DONE, {"fingerprint": fingerprint, "command": stage.command, "seconds": seconds})
    log.info("%s: done in %.0f s", title, seconds)
