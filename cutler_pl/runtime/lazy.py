"""Names of a package that are imported when they are first used, so that parameter classes do not bring Lightning."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of a package's `__init__`.

    Args:
        package: Its `__name__`.
        modules: Full name of a module to the names it gives, separated by spaces.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get
