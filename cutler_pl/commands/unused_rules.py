"""What is declared of settings that are not read, and the conditions under which they are not."""

from collections.abc import Callable
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

Condition = Callable[[DictConfig], bool]


class Unused(NamedTuple):
    """Settings that are not read under a condition; a name stands for all settings below it, too."""

    settings: tuple[str, ...]
    reason: str
    when: Condition = lambda cfg: True


def not_given(*names: str) -> Condition:
    """None of the settings is given."""
    return lambda cfg: all(OmegaConf.select(cfg, name) in (None, False) for name in names)


def is_given(*names: str) -> Condition:
    """All settings are given."""
    return lambda cfg: all(OmegaConf.select(cfg, name) not in (None, False) for name in names)


def equals(name: str, *values: object) -> Condition:
    """The setting has one of the values."""
    return lambda cfg: OmegaConf.select(cfg, name) in values


def differs(name: str, *values: object) -> Condition:
    """The setting has none of the values."""
    return lambda cfg: OmegaConf.select(cfg, name) not in values


def not_named(setting: str) -> Condition:
    """No other setting names it."""
    return lambda cfg: f"${{{setting}}}" not in OmegaConf.to_yaml(cfg)
