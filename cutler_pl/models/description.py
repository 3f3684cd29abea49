"""What a checkpoint says of its model, checked before anything is built by it."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any

from torch import Tensor

from cutler_pl.coco.bounds import MAX_ID
from cutler_pl.coco.json_text import shown
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models.config import MAX_NUMBER, DetectorConfig, UpTo, current_names, make_config
from cutler_pl.runtime.ranges import rules_of

_NAME = "cascade_mask_rcnn_r50_fpn"  # the options name every difference from it


def described_options(
    described: Mapping[str, Any], state: Mapping[str, Tensor], *, name: str
) -> tuple[dict[str, Any], tuple[int, ...], tuple[str, ...]]:
    """Options of `build_detector`, category ids and class names of a checkpoint of this project.

    Raises:
        CheckpointError: A field is missing or cannot be; the message names it.
    """
    given = described["detector"]
    if not isinstance(given, Mapping) or not all(isinstance(option, str) for option in given):
        raise _wrong(name, "detector", "options by name", given)
    options = current_names(given)
    for option, value in options.items():
        _check_size(value, option, name)
    layers = options.get("mask_head_convs", 0), len(options.get("stage_ious") or ())
    if any(isinstance(count, int) and count > len(state) for count in layers):
        raise CheckpointError(f"{name}: describes more layers than it holds weights; fetch or write the file again")
    try:
        config = make_config(_NAME, **options)
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: describes a model that cannot be ({error}); write the file again") from error
    ids: Any = described.get("category_ids")
    names: Any = described.get("class_names")
    if not _is_list(ids, int) or len(set(ids)) != config.num_classes:
        raise _wrong(name, "category_ids", f"{config.num_classes} different whole numbers", ids)
    if names is not None and (not _is_list(names, str) or len(names) != len(ids)):
        raise _wrong(name, "class_names", f"{len(ids)} texts", names)
    return options, tuple(ids), tuple(names or map(str, ids))


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(type(part) is kind for part in value)


def _check_size(value: Any, option: str, name: str) -> None:
    field = f"detector.{option}"
    default = {f.name: f.default for f in fields(DetectorConfig)}.get(option, MISSING)
    rule = rules_of(DetectorConfig).get(option)
    most = rule.limit.value() if isinstance(rule, UpTo) else MAX_NUMBER
    if isinstance(value, list | tuple):
        if len(value) > 16 or any(isinstance(part, list | tuple) and len(part) > 16 for part in value):
            raise _wrong(name, field, "a short list", value)
        flat = [n for part in value for n in (part if isinstance(part, list | tuple) else [part])]
        if not all(type(n) in (int, float) and isfinite(n) for n in flat):
            raise _wrong(name, field, "numbers", value)
        if flat and max(map(abs, flat)) > MAX_NUMBER:
            raise _wrong(name, field, f"numbers of at most {MAX_NUMBER:,}", value)
    elif isinstance(value, int | float) and not (0 <= value <= most):
        way_out = ""
        if isinstance(rule, UpTo) and isinstance(value, int) and 0 < value < MAX_ID:
            way_out = rule.limit.way_out(value)
        raise _wrong(name, field, f"a number from 0 to {most:,}", value, way_out)
    if default is not MISSING and default is not None and isinstance(default, tuple) != isinstance(value, list | tuple):
        raise _wrong(name, field, "a list" if isinstance(default, tuple) else "one value", value)
    if isinstance(default, bool | str) and type(value) is not type(default):
        raise _wrong(name, field, "a text" if isinstance(default, str) else "true or false", value)


def _wrong(name: str, field: str, expected: str, found: Any, way_out: str = "") -> CheckpointError:
    said = shown(found) if isinstance(found, str | int | float | bool | None) else type(found).__name__
    return CheckpointError(
        f"{name}: its description of the model, model_config.{field}, should be {expected} and is {said}; "
        f"{way_out or 'write the file again'}"
    )
