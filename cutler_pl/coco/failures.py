"""`failures.jsonl`: the images that a run could not process, one JSON line each with `file` and `reason`."""

import json
from collections.abc import Mapping
from pathlib import Path

from cutler_pl.runtime.files import write_text

FAILURES_NAME = "failures.jsonl"


def write_failures(path: str | Path, reasons: Mapping[str, str]) -> None:
    """Write the reason per image, sorted by image. ASCII, so that a name that is not UTF-8 is kept."""
    lines = [json.dumps({"file": name, "reason": reasons[name]}) + "\n" for name in sorted(reasons)]
    write_text(path, "".join(lines))


def read_failures(path: str | Path) -> dict[str, str]:
    """Reason per image, also from a file of version 0.1's `predict`, which called `file` `file_name`."""
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {record.get("file") or record["file_name"]: record["reason"] for record in records}
