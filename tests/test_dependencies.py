"""What the code imports is declared in pyproject.toml, and what is declared is used."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
APART = {"roundtrip.py"}  # runs in environments of its own, with the libraries that read the labels back
SCRIPTS = [path for path in (ROOT / "scripts").glob("*.py") if path.name not in APART]
SOURCES = [*(ROOT / "cutler_pl").rglob("*.py"), *SCRIPTS, ROOT / "train.py"]
# Distributions whose modules carry another name, for those that need not be installed here.
MODULES = {"cupy-cuda13x": "cupy", "hydra-submitit-launcher": "hydra_plugins"}


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=!;~]", requirement)[0].lower().replace("_", "-")


@cache
def imported() -> frozenset[str]:
    modules = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Call) and (
                getattr(node.func, "attr", "") == "import_module" or any(k.arg == "extra" for k in node.keywords)
            ):
                modules |= {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return frozenset(modules - {"cutler_pl"} - set(sys.stdlib_module_names))


@cache
def distributions() -> dict[str, set[str]]:
    """Module → names of the distributions that hold it."""
    return {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }


DECLARED = {name_of(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {
    name_of(requirement) for extra, group in PROJECT["optional-dependencies"].items() if extra != "dev"
    for requirement in group
}  # fmt: skip


def test_every_import_is_declared() -> None:
    known = distributions()
    undeclared = {
        module for module in imported() if not known.get(module, {MODULES.get(module, module)}) & (DECLARED | EXTRAS)
    }
    assert undeclared - {"cupy"} == set()


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_dependency_is_used(name: str) -> None:
    known = distributions()
    modules = {module for module, names in known.items() if name in names}
    assert modules & imported()
