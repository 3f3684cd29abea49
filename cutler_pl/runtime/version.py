"""The version of this package: `pyproject.toml` states it, the installed metadata tell it."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("cutler_pl")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "unknown"
