"""Images that a run could not process, and their record `failures.jsonl`: one JSON line each with `file`, `reason`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cutler_pl.coco.json_text import json_error
from cutler_pl.errors import AnnotationError
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
    """Reason per image, also from a file of version 0.1's `predict`, which called `file` `file_name`.

    Raises:
        AnnotationError: A line is damaged.
    """
    reasons: dict[str, str] = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        try:
            record: Any = json.loads(line)
            file, reason = record.get("file") or record["file_name"], record["reason"]
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number, json_error(error)) from error
        except (AttributeError, LookupError, TypeError):
            file = reason = None
        if not isinstance(file, str) or not isinstance(reason, str):
            raise _damaged(path, number, "it has no file and reason")
        reasons[file] = reason
    return reasons


def _damaged(path: str | Path, number: int, error: str) -> AnnotationError:
    return AnnotationError(
        f"{path}, line {number}: damaged ({error}); remove the file, which counts no image as unreadable, or predict "
        "again"
    )
