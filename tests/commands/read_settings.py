"""Which settings of a config a command reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from omegaconf import DictConfig, Node, OmegaConf


def leaves(cfg: DictConfig, prefix: str = "") -> set[str]:
    """Names of all settings; a list, a null and an empty group are one setting each."""
    names: set[str] = set()
    for key in map(str, cfg):
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation() and len(node):
            names |= leaves(node, f"{prefix}{key}.")
        else:
            names.add(f"{prefix}{key}")
    return names


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Full names of the settings read in the meantime, through interpolations too; copies of a group count as it."""
    read: set[str] = set()
    get_node = DictConfig._get_node
    paused = False

    def recording(self: DictConfig, key: Any, *args: Any, **kwargs: Any) -> Any:
        node = get_node(self, key, *args, **kwargs)
        if not paused and isinstance(node, Node) and not (isinstance(node, DictConfig) and _has_content(node)):
            read.add(_full_name(self, key))
        return node

    def unrecorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal paused
            before, paused = paused, True
            try:
                return function(*args, **kwargs)
            finally:
                paused = before

        return call

    with monkeypatch.context() as patch:
        for name in ("to_yaml", "to_object", "to_container"):  # what is kept of a run
            patch.setattr(OmegaConf, name, staticmethod(unrecorded(getattr(OmegaConf, name))))
        patch.setattr(DictConfig, "_get_node", recording)
        yield read


def _full_name(group: DictConfig | None, key: Any) -> str:
    names = [str(key)]
    while group is not None and group._key() is not None:
        names.append(str(group._key()))
        group = group._get_parent()
    return ".".join(reversed(names))


def _has_content(node: DictConfig) -> bool:
    return not (node._is_none() or node._is_missing() or node._is_interpolation()) and len(node) > 0
