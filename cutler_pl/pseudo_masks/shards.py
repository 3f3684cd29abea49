"""The `shards/` folder of a MaskCut run: what is done, and what the results were made with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutler_pl.coco.parameters import read_record, record_parameters
from cutler_pl.coco.parts import PartFiles, is_shard_record
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

KEY = "file"
INPUTS_NAME = "inputs.json"


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
    record_parameters(folder, parameters)
    if read_inputs(folder) != list(inputs):
        write_json(Path(folder) / INPUTS_NAME, list(inputs))


def read_inputs(folder: str | Path) -> list[str] | None:
    """The images that a run was to do, as it recorded them; None where no run did.

    Raises:
        AnnotationError: The record is damaged.
    """
    path = Path(folder) / INPUTS_NAME
    return read_record(path, list) if path.is_file() else None
