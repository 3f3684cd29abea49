"""Packages that are imported at the moment they are needed: those of the extras, and slow or noisy ones."""

import importlib
import importlib.util
import os
import sys
import warnings
from importlib.metadata import entry_points
from types import ModuleType

from cutler_pl.errors import OptionalDependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a package of an extra, which sends nobody how it is used unless the user's environment says so.

    Raises:
        OptionalDependencyError: It is not installed, or is and cannot be imported; the message gives the pip command.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime asks when it is imported
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        state = "is not installed" if missing else f"is installed but cannot be imported ({error})"
        raise OptionalDependencyError(
            f"{purpose} needs the package {module!r}, which {state}: pip install 'cutler_pl[{extra}]'"
        ) from error


def cupy_or_none() -> ModuleType | None:
    """CuPy if it is installed and sees a device, else None: the caller takes its CPU path."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return None
    try:
        return cupy if cupy.cuda.runtime.getDeviceCount() > 0 else None
    except cupy.cuda.runtime.CUDARuntimeError:
        return None


def supervision() -> ModuleType:
    """supervision, without its warning that it uses NumPy where OpenCV is not installed: that is meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV .* is not installed", category=UserWarning)
        return importlib.import_module("supervision")


def submitit(*, purpose: str) -> ModuleType:
    """submitit, also without `pkg_resources`, by which it looks for plugins and which setuptools no longer has.

    Raises:
        OptionalDependencyError: It is not installed.
    """
    module = require("submitit", extra="slurm", purpose=purpose)
    if importlib.util.find_spec("pkg_resources") is None:
        instead = ModuleType("pkg_resources")
        instead.iter_entry_points = lambda group: entry_points(group=group)  # type: ignore[attr-defined]
        instead.__spec__ = importlib.util.spec_from_loader("pkg_resources", loader=None)
        sys.modules["pkg_resources"] = instead
    return module
