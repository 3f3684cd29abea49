"""Packages that are imported at the moment they are needed: those of the extras, and slow or noisy ones."""

import importlib
import warnings
from types import ModuleType

from cutler_pl.errors import OptionalDependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
        OptionalDependencyError: It is not installed, or is and cannot be imported; the message gives the pip command.
    """
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
