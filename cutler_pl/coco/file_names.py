"""File names of image records: well formed, and below the image folder.

Annotation files come from strangers too: a name such as `../../x.jpg` or `/etc/x.jpg` reads nothing outside the folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from cutler_pl.coco.json_text import shown
from cutler_pl.errors import AnnotationError

NAMES_WAY_OUT = "set images=<folder> to one that holds all images, or write names below it into the annotation file"
MAX_NAME = 4096
"""Most characters of a file name; no system opens a longer path."""


def file_name(image: Mapping[str, Any]) -> str | None:
    """The record's `file_name`; LVIS v1 names its images by `coco_url` only, whose path is below COCO's folder."""
    name, address = image.get("file_name"), image.get("coco_url")
    if isinstance(name, str) and name:
        return name
    if isinstance(address, str):
        try:
            return urlparse(address).path.lstrip("/") or None
        except ValueError:
            pass
    return None


def name_error(name: str) -> str | None:
    """Error of a name that no file can have."""
    if len(name) > MAX_NAME:
        return f"has a file_name of {len(name):,} characters; {MAX_NAME:,} is the most"
    if "\0" in name or not (name.isascii() or is_text(name, errors="surrogateescape")):
        return f"has the file_name {shown(name)}, which no file can have"
    return None


def is_text(value: str, *, errors: str = "strict") -> bool:
    """Whether a string can be written as UTF-8; `surrogateescape` accepts file names of other bytes."""
    try:
        value.encode(errors=errors)
    except UnicodeEncodeError:
        return False
    return True


def may_lead_out(name: str) -> bool:
    """Whether a name may lead out of the folder it is relative to; a fast test that is wrong about few names."""
    return name.startswith(("/", "\\")) or ".." in name or (os.name == "nt" and ":" in name)


def leads_out(folder: str | Path, name: str) -> bool:
    """Whether a name leads out of its folder; links within the folder may point anywhere."""
    if not may_lead_out(name):
        return False
    top, path = (Path(os.path.normpath(Path.cwd() / folder / name)) for name in ("", name))
    return path == top or not path.is_relative_to(top)


def path_below(folder: str | Path, name: str) -> Path:
    """Path of an image in its folder.

    Raises:
        AnnotationError: The name leads out of the folder.
    """
    if leads_out(folder, name):
        raise AnnotationError(f"the file_name {shown(name)} leads out of the image folder {folder}; {NAMES_WAY_OUT}")
    return Path(folder) / name
