"""What the results in a folder were made with, recorded beside them, so that nothing else is added to them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutler_pl.coco.json_text import read_json_file
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.runtime.files import write_json

PARAMETERS_NAME = "parameters.json"

_WAY_OUT = "restore it, or remove this file if the settings and images are still the same"

# Names and values of version 0.1, as recorded by its runs, and today's.
_RENAMED = {"max_cut_value": "max_ncut_value", "cut_value": "ncut_value"}


def record_parameters(folder: str | Path, parameters: Mapping[str, Any]) -> None:
    """Record what a run's results depend on, or make sure that it is what the folder's results were made with.

    Args:
        folder: Folder of the results, in the output folder.
        parameters: Everything that changes results, in JSON's types.

    Raises:
        ConfigError: The folder holds results of other parameters; the differing ones are named.
        AnnotationError: The record is damaged.
    """
    if found := record_or_compare(folder, parameters):
        raise ConfigError(
            f"{Path(folder).parent}: holds results made with {'; '.join(found)}; choose another output folder, "
            "repeat the former settings, or remove the folder"
        )


def record_or_compare(folder: str | Path, parameters: Mapping[str, Any], *, way_out: str = _WAY_OUT) -> list[str]:
    """Record parameters where the folder has none; else how its own differ, none where they are equal.

    Args:
        folder: That holds the record.
        parameters: In JSON's types.
        way_out: What to do where the record is damaged.

    Raises:
        AnnotationError: The record is damaged.
    """
    given = json.loads(json.dumps(parameters))
    before = read_parameters(folder, way_out=way_out)
    if before is None:
        write_json(Path(folder) / PARAMETERS_NAME, given, indent=2)
        return []
    return differences(before, given)


def read_parameters(folder: str | Path, *, way_out: str = _WAY_OUT) -> dict[str, Any] | None:
    """What `record_parameters` wrote there, by today's names; None where it wrote nothing.

    Raises:
        AnnotationError: The record is damaged.
    """
    path = Path(folder) / PARAMETERS_NAME
    if not path.is_file():
        return None
    try:
        return dict(_with_current_names(read_record(path, dict, way_out=way_out)))
    except RecursionError as error:
        raise AnnotationError(f"{path}: damaged, it is nested too deeply; {way_out}") from error


def read_record(path: Path, kind: type, *, way_out: str = _WAY_OUT) -> Any:
    """A list of texts, or an object, that a run wrote.

    Raises:
        AnnotationError: It is damaged.
    """
    content = read_json_file(path, what="record of a run", way_out=way_out)
    items = list(content) if isinstance(content, list | dict) else [content]
    if not isinstance(content, kind) or not all(isinstance(item, str) for item in items):
        raise AnnotationError(f"{path}: damaged, it holds something else than what a run writes; {way_out}")
    return content


def _with_current_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): _with_current_names(inner) for key, inner in value.items()}
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Settings of two records that differ, as parts of a sentence; one that is missing counts as null."""
    if isinstance(before, dict) and isinstance(now, dict):
        prefix = f"{name}." if name else ""
        keys = [*before, *(key for key in now if key not in before)]
        return [d for key in keys for d in differences(before.get(key), now.get(key), f"{prefix}{key}")]
    return [] if before == now else [f"{name}={before} where {now} is asked for now"]
