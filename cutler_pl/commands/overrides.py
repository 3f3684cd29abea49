"""Settings as overrides of a command line, and what a config holds for one."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

ABSENT = "???"
_BARE = re.compile(r"[\w./+-]+")


def format_overrides(overrides: Mapping[str, Any]) -> list[str]:
    """Settings as Hydra overrides, quoted where Hydra's grammar needs it."""
    return [f"{key}={_format(value)}" for key, value in overrides.items()]


def value_at(cfg: DictConfig, key: str) -> Any:
    """The value of a setting as it stands in the config, interpolations unresolved; `ABSENT` where there is none."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
    return value


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
