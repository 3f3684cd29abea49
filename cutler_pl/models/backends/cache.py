"""Networks that were exported on the fly, kept in the user's cache folder, one folder per weights."""

import math
import os
from pathlib import Path

from cutler_pl.errors import CheckpointError, OutputLockedError, OutputWriteError
from cutler_pl.models.backends.onnx_parts import check_parts, export_parts
from cutler_pl.models.backends.parts import weights_digest
from cutler_pl.models.detector import Detector
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_FORMAT = "onnx1"  # changes when the files do


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cutler_pl`, else `~/.cache/cutler_pl`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cutler_pl"


def cached_parts(detector: Detector) -> Path:
    """The folder of a detector's networks; they are exported where they are missing, by one process.

    Raises:
        OptionalDependencyError: A package of the extra `export` is missing.
        OutputWriteError: The cache folder cannot be written.
    """
    folder = cache_folder() / _FORMAT / weights_digest(detector)[:32]
    if _is_whole(detector, folder):
        return folder
    try:
        with file_lock(folder, purpose="export", timeout=math.inf):
            if not _is_whole(detector, folder):
                log.info("the networks are exported once for these weights, in about half a minute, into %s", folder)
                export_parts(detector, folder)
    except (OutputWriteError, OutputLockedError) as error:
        raise OutputWriteError(
            f"{folder}: the exported networks cannot be cached ({error.__cause__ or error}); set XDG_CACHE_HOME to "
            "a folder that can be written, or give exported=<folder> of cutler export"
        ) from error
    return folder


def _is_whole(detector: Detector, folder: Path) -> bool:
    try:
        check_parts(detector, folder)
    except CheckpointError:
        return False
    return True
