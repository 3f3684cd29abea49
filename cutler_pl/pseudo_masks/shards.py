"""Results of a long run over many images, kept while it runs: shard files of one JSON line an image.

Every process appends to a shard file of its own, one batch in one write. A line is whole or it is not a record: what
a killed process left behind a last newline is cut off before the next record is appended and skipped by readers. So a
run can be killed at any moment, and started again it goes on with the images that have no record. `shard_merge` makes
the COCO file.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict, cast

from cutler_pl.coco.schema import ShardAnnotation
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import wrap_os_errors, write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

PARAMETERS_NAME = "parameters.json"
INPUTS_NAME = "inputs.json"
_READ_BACK = 1 << 16


class ShardRecord(TypedDict):
    """What is known of one image after its turn: its objects, or why it failed.

    `file` is the path relative to the input's root in POSIX form; `dropped` counts objects that were found and then
    rejected, by reason.
    """

    file: str
    height: NotRequired[int]
    width: NotRequired[int]
    annotations: NotRequired[list[ShardAnnotation]]
    dropped: NotRequired[dict[str, int]]
    failure: NotRequired[str]


@dataclass
class Progress:
    """What the shard files of a run hold: images done with, and the reason of each failure not made good since."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    unreadable_lines: int = 0


class ShardWriter:
    """Appends records to one shard file, for the only process that writes to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with wrap_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._cut_torn_line()

    def append(self, records: Sequence[ShardRecord]) -> None:
        """Append records together: after a failure none of them is there.

        Raises:
            OutputWriteError: There is no space left; the file is as it was.
        """
        lines = [json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n" for record in records]
        rest = memoryview("".join(lines).encode("ascii"))
        size = os.fstat(self._descriptor).st_size
        with wrap_os_errors(self.path):
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        if self._descriptor >= 0:
            with wrap_os_errors(self.path):
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        end = os.fstat(self._descriptor).st_size
        keep = end
        while keep > 0:
            start = max(0, keep - _READ_BACK)
            newline = os.pread(self._descriptor, keep - start, start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            os.ftruncate(self._descriptor, keep)


def read_shard(path: str | Path) -> Iterator[tuple[int, ShardRecord | None]]:
    """Read a shard file line by line.

    Yields:
        The byte offset of each line and its record; None where the line is torn or damaged.
    """
    offset = 0
    with Path(path).open("rb") as file:
        for line in file:
            yield offset, parse_line(line)
            offset += len(line)


def parse_line(line: bytes) -> ShardRecord | None:
    """The record of one line, or None where the line is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return cast(ShardRecord, record) if isinstance(record, dict) and isinstance(record.get("file"), str) else None


def shard_files(folder: str | Path) -> list[Path]:
    """The shard files of a run, in a fixed order."""
    return sorted(Path(folder).glob("*.jsonl"))


def read_progress(folder: str | Path) -> Progress:
    """Find out what is done already. An image that failed once and was done later is done."""
    progress = Progress()
    for path in shard_files(folder):
        for _, record in read_shard(path):
            if record is None:
                progress.unreadable_lines += 1
            elif "failure" in record:
                progress.failed[record["file"]] = record["failure"]
            else:
                progress.done.add(record["file"])
    for name in progress.done:
        progress.failed.pop(name, None)
    if progress.unreadable_lines:
        log.warning("%s: %d damaged lines; their images are done again", folder, progress.unreadable_lines)
    return progress


def begin_run(folder: str | Path, parameters: Mapping[str, Any], inputs: Sequence[str]) -> None:
    """Record what a run's results depend on, or make sure that it is what the folder's results were made with.

    Args:
        folder: Folder of the shard files.
        parameters: Everything that changes results, in JSON's types.
        inputs: Relative paths of all images, sorted; an input that grew or shrank since is accepted.

    Raises:
        ConfigError: The folder holds results of other parameters; the differing ones are named.
    """
    folder = Path(folder)
    recorded = folder / PARAMETERS_NAME
    given = json.loads(json.dumps(parameters))
    if recorded.is_file():
        before = json.loads(recorded.read_text(encoding="utf-8"))
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
    """The images that a run was to do, as it recorded them; None where no run did."""
    path = Path(folder) / INPUTS_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        prefix = f"{name}." if name else ""
        keys = [*before, *(key for key in now if key not in before)]
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{prefix}{key}")]
    return [] if before == now else [f"{name}={before} where {now} is asked for now"]
