"""Images that a run could not process, and their record `failures.jsonl`: one JSON line each with `file`, `reason`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.logging import get_logger

FAILURES_NAME = "failures.jsonl"

_log = get_logger(__name__)


class Failure(NamedTuple):
    """An image that could not be used, and why."""

    file: str
    reason: str


class Failures(dict[str, str]):
    """Reason per unusable image; each image is logged once."""

    def add(self, failures: Iterable[Failure]) -> None:
        """Record failures of images that are not recorded yet."""
        for file, reason in failures:
            if file not in self:
                self[file] = reason
                _log.warning("left out an image: %s", reason)


def write_failures(path: str | Path, reasons: Mapping[str, str]) -> None:
    """Write the reason per image, sorted by image. ASCII, so that a name that is not UTF-8 is kept."""
    lines = [json.dumps({"file": name, "reason": reasons[name]}) + "\n" for name in sorted(reasons)]
    write_text(path, "".join(lines))


def read_failures(path: str | Path) -> dict[str, str]:
    """Reason per image, also from a file of version 0.1's `predict`, which called `file` `file_name`."""
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {record.get("file") or record["file_name"]: record["reason"] for record in records}
