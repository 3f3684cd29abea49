"""Cached results of the parts of a run, each with the settings it depends on; a damaged one is made anew."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutler_pl.coco.json_text import decode_json, json_error, kind
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

_DIGEST = "digest"
_log = get_logger(__name__)


def file_state(path: str | Path) -> dict[str, Any]:
    """Path, size and modification time of a file."""
    state = Path(path).stat()
    return {"file": str(Path(path).resolve()), "bytes": state.st_size, "changed_ns": state.st_mtime_ns}


def read_cached(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Content written by `write_cached` for the same settings, else None."""
    content = read_record(path)
    if content is None or content.get("settings") != json.loads(json.dumps(settings)):
        return None
    try:
        unchanged = content.pop(_DIGEST, None) == _digest(content)
    except RecursionError:
        unchanged = False
    if not unchanged:
        _log.warning("%s: was changed since it was written; made anew", path)
        return None
    return content


def write_cached(path: Path, settings: Mapping[str, Any], **content: Any) -> None:
    """Write a result with the settings it depends on."""
    record = {"settings": settings, **content}
    write_json(path, record | {_DIGEST: _digest(record)}, indent=2)


def read_record(path: Path) -> dict[str, Any] | None:
    """Object in a JSON file that a run wrote; None where there is none, or, with a warning, where it is damaged."""
    try:
        content = decode_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = str(error.strerror)
    except (ValueError, RecursionError) as error:
        reason = json_error(error)
    else:
        if isinstance(content, dict):
            return content
        reason = f"{kind(content)} instead of an object"
    _log.warning("%s: damaged (%s); made anew", path, reason)
    return None


def _digest(record: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(record))  # keys are texts, tuples are lists
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
