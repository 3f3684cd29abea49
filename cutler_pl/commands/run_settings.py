"""The settings of a training that a checkpoint remembers, by name, so that changes on resume can be named."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

_GROUPS = ("seed", "data", "augment", "model", "optimizer", "scheduler", "teacher", "trainer", "callbacks")
_WITHOUT_EFFECT = ("data.num_workers", "data.index_dir", "data.datamodule", "callbacks.progress", "model.init_from")


def run_settings(cfg: DictConfig, *, processes: int) -> dict[str, Any]:
    """Every setting that the result depends on, once: without places, and without what only points to another one."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(raw, dict)
    assert isinstance(values, dict)
    found = {
        name: value
        for group in _GROUPS
        for name, value, written in _leaves(group, values.get(group), raw.get(group))
        if not name.startswith(_WITHOUT_EFFECT) and not _points_elsewhere(written)
    }
    return found | {"processes": processes}


def _leaves(name: str, value: Any, written: Any) -> Iterator[tuple[str, Any, Any]]:
    if not isinstance(value, dict):
        yield name, value, written
        return
    for key, part in value.items():
        yield from _leaves(f"{name}.{key}", part, written.get(key) if isinstance(written, dict) else written)


def _points_elsewhere(written: Any) -> bool:
    if not isinstance(written, str) or "${" not in written:
        return False
    target = written.removeprefix("${").partition(".")[0].rstrip("}")
    return "${paths." in written or target in _GROUPS
