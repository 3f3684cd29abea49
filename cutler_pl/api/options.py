"""The option files of `conf/maskcut/` and `conf/generator/`, read without Hydra."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.config_tree import config_dir


def read_maskcut_option(name: str) -> dict[str, Any]:
    """The values of `conf/maskcut/<name>.yaml` and of the files below `base/` that it rests on.

    Raises:
        ConfigError: There is no such option.
    """
    folder = config_dir() / "maskcut"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"there is no maskcut option {name!r}{hint}; choose one of {', '.join(known)}")
    values = _read(folder / f"{name}.yaml")
    features = values["features"]
    del features["_target_"]
    return values


def read_generator_option(generator: str, name: str) -> dict[str, Any]:
    """The values of `conf/generator/<generator>.yaml` under those for the features `name`: `generator`, `maskcut`, ….

    Raises:
        ConfigError: There is no such generator.
    """
    folder = config_dir() / "generator"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if generator not in known:
        raise ConfigError(f"there is no generator {generator!r}; choose one of {', '.join(known)}")
    values = _read(folder / f"{generator}.yaml")
    special = folder / "features" / f"{generator}_{name}.yaml"
    if special.is_file():
        _merge(values, _read(special))
    return values


def features_of(backbone: str | Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a backbone's features: those of an option of `maskcut=`, with what an entry gives in their place.

    Args:
        backbone: An entry of `maskcut.backbones`: the option's name, or settings with `name`.

    Raises:
        ConfigError: There is no such option, or the entry has no name.
    """
    given = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    if "name" not in given:
        raise ConfigError("maskcut.backbones: an entry has no name; write {name: dino_vits8, weights: <file>}")
    if "cache" in given:
        raise ConfigError("maskcut.backbones: all backbones share a cache; give maskcut.features.cache=<folder>")
    features: dict[str, Any] = read_maskcut_option(given["name"])["features"]
    return {**features, **given, "name": features["name"]}


def _read(path: Path) -> dict[str, Any]:
    """A file over its bases; `/params` entries stand for the defaults of the parameter classes."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, dict):
            ((group, option),) = entry.items()
            folder = group.partition("@")[0]
            if not folder.startswith("/"):
                _merge(values, _read(path.parent / folder / f"{option}.yaml"))
        elif entry != "_self_":
            _merge(values, _read(path.parent / f"{entry}.yaml"))
    _merge(values, content)
    return values


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value
