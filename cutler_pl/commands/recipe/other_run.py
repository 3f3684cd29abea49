"""An output folder belongs to one run: what another one has written there stays."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cutler_pl.errors import ConfigError


def refuse_other_run(cfg: DictConfig) -> None:
    """Raise if the output folder of a recipe holds something else than an earlier run of the same recipe.

    `recipe.one_run` names the settings in which the two have to agree, too.

    Raises:
        ConfigError: It does.
    """
    output = Path(cfg.recipe.output)
    if not output.is_dir() or not any(not path.name.startswith(".") for path in output.iterdir()):
        return
    way_out = "choose another output, or remove that folder"
    recorded = _recorded(output / "config.yaml")
    stages = [str(name) for name in cfg.recipe.stages]
    if recorded is None or next(iter(recorded.get("stages") or {}), None) != stages[0]:
        raise ConfigError(f"{output}: holds the files of something else than this recipe; {way_out}")
    for name in cfg.recipe.get("one_run") or ():
        before, now = recorded.get(name.removeprefix("recipe.")), OmegaConf.select(cfg, name)
        if _place(before) != _place(now):
            setting = name.removeprefix("recipe.")
            raise ConfigError(f"{output}: holds the run of {setting}={before}, not of {setting}={now}; {way_out}")


def _recorded(path: Path) -> Any:
    """The group `recipe` of the config of an earlier run; None where there is none."""
    try:
        return OmegaConf.select(OmegaConf.load(path), "recipe") or None
    except (FileNotFoundError, OmegaConfBaseException, YAMLError, UnicodeDecodeError):
        return None


def _place(path: Any) -> Any:
    return Path(path).resolve() if isinstance(path, str) else path
