"""What a training or a recipe recorded in its folder, read for a model card."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import yaml

from cutler_pl.errors import ConfigError

_CONFIG, _RUN, _STAGES = "config.yaml", "run.json", "stages"


@dataclass(frozen=True)
class RunFolder:
    """A folder of a command.

    Attributes:
        path: The folder.
        config: Its `config.yaml`.
        metadata: Its `run.json`: commit, versions, hardware, seed.
    """

    path: Path
    config: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """A setting by its whole name, None where there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    @property
    def recipe(self) -> Path | None:
        """The folder of the recipe that this run is a stage of."""
        return self.path.parent.parent if self.path.parent.name == _STAGES else None

    def find(self, file: Any) -> Path | None:
        """A file that a setting names: where it was, or in the same stage of a recipe that was moved."""
        if not isinstance(file, str) or not file:
            return None
        path = Path(file)
        if path.exists():
            return path
        if self.recipe is not None and _STAGES in path.parts:
            place = len(path.parts) - 1 - path.parts[::-1].index(_STAGES)
            moved = self.recipe.joinpath(*path.parts[place:])
            return moved if moved.exists() else None
        return None


def read_folder(path: Path) -> RunFolder | None:
    """What a folder records; None where it records nothing."""
    config = _read(path / _CONFIG)
    return None if config is None else RunFolder(path, config, _read(path / _RUN) or {})


def read_training(path: Path) -> RunFolder:
    """The training of a folder: its own, or the last one of a recipe.

    Raises:
        ConfigError: There is none.
    """
    trained = [folder for folder in stages(path) if (folder / "checkpoints").is_dir()]
    for folder in (path, *reversed(trained)):
        run = read_folder(folder)
        if run is not None and isinstance(run.config.get("data"), Mapping):
            return run
    raise ConfigError(f"{path}: holds no training, that is config.yaml and checkpoints; give the folder of a run")


def training_of(checkpoint: Path) -> RunFolder | None:
    """The training that wrote a checkpoint into its folder `checkpoints`."""
    run = read_folder(checkpoint.parent.parent) if checkpoint.parent.name == "checkpoints" else None
    return run if run is not None and isinstance(run.config.get("data"), Mapping) else None


def stages(recipe: Path) -> list[Path]:
    """Folders of the stages of a recipe, in order."""
    folders = [path for path in recipe.glob(f"{_STAGES}/*") if path.name.partition("_")[0].isdigit()]
    return sorted(folders, key=lambda path: int(path.name.partition("_")[0]))


def stage_commands(recipe: Path) -> list[tuple[str, str, float | None]]:
    """Name, command and minutes of each finished stage; paths are cut to their last part."""
    found = []
    for folder in stages(recipe):
        record = _read(folder / "stage.json") or {}
        if record.get("state") == "finished":
            seconds = record.get("seconds")
            minutes = seconds / 60 if isinstance(seconds, int | float) else None
            found.append((folder.name.partition("_")[2], without_paths(record.get("command")), minutes))
    return found


def without_paths(command: Any) -> str:
    """A command line in which each path is cut to its last part."""
    if not isinstance(command, str):
        return ""
    return " ".join(re.sub(r"(?!timm/)(?<![\w])[^=\s'\"\[\],{}:]*/", "", word) for word in shlex.split(command))


def last_part(path: Any) -> str:
    """The last part of a path."""
    return PurePath(str(path)).name


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None
