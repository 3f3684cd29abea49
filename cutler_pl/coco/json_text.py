"""Decode JSON that other programs wrote; whatever is wrong with it is one phrase."""

import json
import sys
from pathlib import Path
from typing import Any

import orjson

from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import is_file

_SHOWN = 120


def read_json_file(path: str | Path, *, what: str = "annotation file", way_out: str) -> Any:
    """Content of a JSON file.

    Args:
        path: The file.
        what: What the file is called in messages.
        way_out: What to do about a file that cannot be read, for messages.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file cannot be read, or is not JSON.
    """
    if not is_file(path):
        raise DatasetNotFoundError(f"no such {what}: {path}")
    try:
        content = Path(path).read_bytes()
        return decode_json(content)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); {way_out}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not a JSON file ({json_error(error)}); {way_out}") from error


def decode_json(content: bytes) -> Any:
    """Value of a JSON text; raises a ValueError or a RecursionError, which `json_error` explains."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass  # it may only be stricter than Python: other programs write NaN, long integers and lone surrogates
    return json.loads(content)


def json_error(error: Exception) -> str:
    """What is wrong with a JSON text, from the error that decoding it raised."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return str(error)
    return f"an integer of more than {sys.get_int_max_str_digits():,} digits"


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 300:
        return f"an integer of about {int(value.bit_length() * 0.30103):,} digits"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer too long for Python
        return kind(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def kind(value: Any) -> str:
    """Type of a value, in a message."""
    return "missing" if value is None else f"a {type(value).__name__}"
