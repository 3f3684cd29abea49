"""Whether a part of a long run is finished: its file says from which settings it was made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutler_pl.runtime.files import write_json


def file_state(path: str | Path) -> dict[str, Any]:
    """Place, size and time of change of a file: whether it is the same one, without reading it."""
    state = Path(path).stat()
    return {"file": str(Path(path).resolve()), "bytes": state.st_size, "changed_ns": state.st_mtime_ns}


def finished_with(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Content of a file that `write_finished` wrote for the same settings; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    same = isinstance(content, dict) and content.get("settings") == json.loads(json.dumps(settings))
    return content if same else None


def write_finished(path: Path, settings: Mapping[str, Any], **content: Any) -> None:
    """Write what a part of the run came to, with the settings it depends on."""
    write_json(path, {"settings": settings, **content}, indent=2)
