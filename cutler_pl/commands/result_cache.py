"""Cached results of the parts of a run, each with the settings it depends on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutler_pl.runtime.files import write_json


def file_state(path: str | Path) -> dict[str, Any]:
    """Path, size and modification time of a file."""
    state = Path(path).stat()
    return {"file": str(Path(path).resolve()), "bytes": state.st_size, "changed_ns": state.st_mtime_ns}


def read_cached(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Content written by `write_cached` for the same settings, else None."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    same = isinstance(content, dict) and content.get("settings") == json.loads(json.dumps(settings))
    return content if same else None


def write_cached(path: Path, settings: Mapping[str, Any], **content: Any) -> None:
    """Write a result with the settings it depends on."""
    write_json(path, {"settings": settings, **content}, indent=2)
