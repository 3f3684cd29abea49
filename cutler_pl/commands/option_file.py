"""Settings of a run as options that other runs can choose: `maskcut=<name>` with `--config-dir=<folder>`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import write_text

_FEATURES = "generator/features"


def check_name(name: str) -> None:
    """Raise `ConfigError` where no new option of `maskcut=` can have this name."""
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ConfigError(f"name={name}: the name of an option is of letters, digits and underscores")
    if name in _options("maskcut"):
        raise ConfigError(f"name={name}: is an option of maskcut= already; choose another name")


def write_option(folder: Path, name: str, cfg: DictConfig, *, command: str, comment: str) -> list[Path]:
    """Write what `cfg` has other values for than the options that it was composed of.

    The features and the cut go into `<folder>/maskcut/<name>.yaml`, the generator's settings and those of annotations
    into `<folder>/generator/features/<generator>_<name>.yaml`, which `maskcut=<name> generator=<generator>` read.

    Args:
        folder: What `--config-dir` names.
        name: Of the option.
        cfg: All settings of the run, as chosen.
        command: What it was composed for.
        comment: Lines for the head of the files.
    """
    choices = HydraConfig.get().runtime.choices
    features, generator = choices["maskcut"], choices["generator"]
    base = compose(command, overrides=[f"maskcut={features}", f"generator={generator}"])
    groups = ("maskcut", "generator", "annotation")
    cut, *others = (_changes(*(OmegaConf.to_container(one[group]) for one in (base, cfg))) for group in groups)
    files = [(folder / "maskcut" / f"{name}.yaml", [features, "_self_"], cut)]
    kept = {group: changes for group, changes in zip(groups[1:], others, strict=True) if changes}
    special = f"{generator}_{features}"
    defaults = [special, "_self_"] if special in _options(_FEATURES) else []
    if kept or defaults:
        files.append((folder / _FEATURES / f"{generator}_{name}.yaml", defaults, kept))
    header = "".join(f"# {line}\n" for line in comment.splitlines())
    for path, names, values in files:
        content = {**({"defaults": names} if names else {}), **values}
        write_text(path, header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return [path for path, _, _ in files]


def _options(group: str) -> list[str]:
    found: list[str] = GlobalHydra.instance().config_loader().get_group_options(group, results_filter=ObjectType.CONFIG)
    return found


def _changes(base: Any, now: Any) -> dict[str, Any]:
    """What `now` has other values for, nested as it is."""
    changes: dict[str, Any] = {}
    for key, value in now.items():
        before = base.get(key) if isinstance(base, Mapping) else None
        if isinstance(value, dict) and isinstance(before, dict):
            if below := _changes(before, value):
                changes[key] = below
        elif value != before:
            changes[key] = value
    return changes
