"""Generators of pseudo-masks beside MaskCut: VoteCut, ProMerge, UniAP and HASSOD's region merging.

One module per method; each generator is a frozen class whose fields are its options (`cutler_pl.maskcut.generator`
holds the interface).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from cutler_pl.maskcut.generator import Generator


def build_generator(option: Mapping[str, Any]) -> Generator | None:
    """The generator of an option of `conf/generator/`; None for MaskCut, whose options are those of `conf/maskcut/`.

    Args:
        option: The class as `_target_`, and its fields.

    Raises:
        ConfigError: A value cannot work.
    """
    values = dict(option)
    target = values.pop("_target_", None)
    if target is None:
        return None
    module, _, name = target.rpartition(".")
    generator: Generator = getattr(import_module(module), name)(**values)
    return generator
