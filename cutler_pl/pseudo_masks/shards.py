"""The `shards/` folder of a MaskCut run: what is done, and what the results were made with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutler_pl.coco.json_text import read_json_file
from cutler_pl.coco.parts import PartFiles, is_shard_record
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

KEY = "file"
PARAMETERS_NAME = "parameters.json"
INPUTS_NAME = "inputs.json"

_WAY_OUT = "restore it, or remove this file if the settings and images are still the same"

# Names and values of version 0.1, as recorded by its runs, and today's.
_RENAMED = {"max_cut_value": "max_ncut_value", "cut_value": "ncut_value"}


@dataclass
class Progress:
    """Images done, and the reason of each failure not made good since."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


def shard_files(folder: str | Path) -> list[Path]:
    """The shard files of a run, in a fixed order."""
    return sorted(Path(folder).glob("*.jsonl"))


def read_progress(folder: str | Path) -> Progress:
    """Find out what is done already. An image that failed once and was done later is done."""
    shards = PartFiles(shard_files(folder), key=KEY, is_valid=is_shard_record)
    progress = Progress()
    for _, record in shards:
        if "failure" in record:
            progress.failed[record[KEY]] = record["failure"]
        else:
            progress.done.add(record[KEY])
    for name in progress.done:
        progress.failed.pop(name, None)
    if shards.num_damaged:
        log.warning("%s: %d damaged lines; their images are done again", folder, shards.num_damaged)
    return progress


def begin_run(folder: str | Path, parameters: Mapping[str, Any], inputs: Sequence[str]) -> None:
    """Record what a run's results depend on, or make sure that it is what the folder's results were made with.

    Args:
        folder: Folder of the shard files.
        parameters: Everything that changes results, in JSON's types.
        inputs: Relative paths of all images, sorted; an input that grew or shrank since is accepted.

    Raises:
        ConfigError: The folder holds results of other parameters; the differing ones are named.
        AnnotationError: The record of the parameters or the images is damaged.
    """
    folder = Path(folder)
    recorded = folder / PARAMETERS_NAME
    given = json.loads(json.dumps(parameters))
    if recorded.is_file():
        try:
            before = _with_current_names(_read_record(recorded, dict))
        except RecursionError as error:
            raise AnnotationError(f"{recorded}: damaged, it is nested too deeply; {_WAY_OUT}") from error
        if differences := _differences(before, given):
            raise ConfigError(
                f"{folder.parent}: holds results made with {'; '.join(differences)}; choose another output folder, "
                "repeat the former settings, or remove the folder"
            )
    else:
        write_json(recorded, given, indent=2)
    if read_inputs(folder) != list(inputs):
        write_json(folder / INPUTS_NAME, list(inputs))


def read_inputs(folder: str | Path) -> list[str] | None:
    """The images that a run was to do, as it recorded them; None where no run did.

    Raises:
        AnnotationError: The record is damaged.
    """
    path = Path(folder) / INPUTS_NAME
    return _read_record(path, list) if path.is_file() else None


def _read_record(path: Path, kind: type) -> Any:
    content = read_json_file(path, what="record of a run", way_out=_WAY_OUT)
    items = list(content) if isinstance(content, list | dict) else [content]
    if not isinstance(content, kind) or not all(isinstance(item, str) for item in items):
        raise AnnotationError(f"{path}: damaged, it holds something else than what a run writes; {_WAY_OUT}")
    return content


def _with_current_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): _with_current_names(inner) for key, inner in value.items()}
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        prefix = f"{name}." if name else ""
        keys = [*before, *(key for key in now if key not in before)]
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{prefix}{key}")]
    return [] if before == now else [f"{name}={before} where {now} is asked for now"]
