"""The one reader of plain values at the edge: what each setting of each command is, and what is wrong with one.

Settings below a `_target_` of this package follow the annotations of what it names (`runtime/ranges.py`), those of
other packages are their own affair, paths are checked by `commands/paths.py`; `commands/value_settings.py` declares
the others.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from cutler_pl.commands.paths import PATH_SETTINGS
from cutler_pl.commands.value_rules import Free, Group, Rules
from cutler_pl.commands.value_settings import FREE, VALUE_SETTINGS
from cutler_pl.errors import ConfigError
from cutler_pl.models.config import DetectorConfig
from cutler_pl.runtime.ranges import FLAG, Choice, Rule, Text, check, rules_of

_OWN = "cutler_pl."
_HYDRA: Rules = {"_target_": Text(), "_partial_": FLAG, "_convert_": Text(), "_recursive_": FLAG}
_FIELDS = {"cutler_pl.models.build_detector": DetectorConfig}  # functions whose options are those of a class
_CPU_PROCESSES = 8  # more ranks than cores are accepted up to here


class Setting(NamedTuple):
    """A setting of a composed config; `rule` is None where none is declared."""

    name: str
    rule: Rule | None
    value: Any


def check_values(command: str, cfg: DictConfig) -> None:
    """Check all values of a command before anything is built.

    Raises:
        ConfigError: A value is not what its setting takes; the sentence names the setting.
    """
    for name, rule in VALUE_SETTINGS[command].items():
        if isinstance(rule, Group) and "." not in name and name not in cfg:
            raise ConfigError(f"{name}=null: this command needs an option of this group; leave {name}= out")
    # what other settings follow from comes first
    for setting in sorted(settings_of(command, cfg), key=lambda setting: setting.name.count(".")):
        if setting.rule is not None:
            check(setting.name, setting.value, setting.rule)
    if "trainer" in cfg:
        _check_processes(cfg.trainer)
        _check_strategy(cfg.trainer.get("strategy", "auto"))


def settings_of(command: str, cfg: DictConfig) -> Iterator[Setting]:
    """All settings that have a value, groups before what is in them."""
    paths: Rules = {setting.name: FREE for setting in PATH_SETTINGS[command]}
    return _below(cfg, "", {**VALUE_SETTINGS[command], **paths}, {}, None)


def _below(node: DictConfig, prefix: str, declared: Rules, owned: Rules, rest: Rule | None) -> Iterator[Setting]:
    """The settings of a node; `owned` holds the rules of what its `_target_` names, `rest` is that of other names."""
    for key in map(str, node):
        name = prefix + key
        rule = _HYDRA.get(key) or _declared(declared, name) or owned.get(key) or rest
        value = _value(node, key)
        if value is _ABSENT:
            continue
        yield Setting(name, rule, value)
        if isinstance(value, DictConfig) and ("_target_" in value or not isinstance(rule, Free)):
            below = _owned(value, name)
            yield from _below(value, f"{name}.", declared, below or {}, rest if below is None else FREE)


_ABSENT = object()


def _value(node: DictConfig, key: str) -> Any:
    """Lists as lists; `_ABSENT` for what the command asks for, and for what follows from that."""
    if OmegaConf.is_missing(node, key):
        return _ABSENT
    try:
        value = node[key]
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
    except InterpolationResolutionError:
        return _ABSENT


def _declared(declared: Rules, name: str) -> Rule | None:
    if name in declared:
        return declared[name]
    return next((rule for pattern, rule in declared.items() if "*" in pattern and _matches(pattern, name)), None)


def _matches(pattern: str, name: str) -> bool:
    """Whether a name is of a pattern: `*` is one part of a name, `**` at the end any number of them."""
    wanted, parts = pattern.split("."), name.split(".")
    if wanted[-1] == "**":
        wanted, parts = wanted[:-1], parts[: len(wanted) - 1]
    return len(wanted) == len(parts) and all(w in ("*", part) for w, part in zip(wanted, parts, strict=True))


def _owned(node: DictConfig, name: str) -> Rules | None:
    """The rules of what a group's `_target_` names; none of its own for other packages; None without a `_target_`."""
    target = node.get("_target_")
    if not isinstance(target, str) or not target.startswith(_OWN):
        return None if target is None else {}
    try:
        return rules_of(_FIELDS.get(target) or get_object(target))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{name}._target_={target}: there is no such class or function") from error


def _check_processes(trainer: DictConfig) -> None:
    """Lightning starts as many processes on a CPU as it is asked for."""
    devices, accelerator = trainer.get("devices"), trainer.get("accelerator")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    most = max(os.cpu_count() or 1, _CPU_PROCESSES)
    if on_cpu and isinstance(devices, int) and devices > most:
        raise ConfigError(f"trainer.devices={devices}: on a CPU these are processes; give at most {most}")


def _check_strategy(strategy: Any) -> None:
    if not isinstance(strategy, str) or strategy in ("auto", "ddp"):
        return
    from lightning.pytorch.strategies import StrategyRegistry  # slow, and hardly ever asked

    known = tuple(StrategyRegistry.available_strategies())
    check("trainer.strategy", strategy, Choice(("auto", *known)))
