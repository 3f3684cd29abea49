"""The parameter classes behind the group `params`: what each field means, by their docstrings."""

import ast
import inspect
import re
from typing import Any, NamedTuple

from hydra.utils import get_class

from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.models.config import ARCHITECTURES, DetectorConfig

_ENTRY = re.compile(r" {4,8}(\w+(?:, \w+)*): (.+)")


class Described(NamedTuple):
    """A class, the first sentence of its docstring, and the comment of each field that has one."""

    kind: type[Any]
    summary: str
    comments: dict[str, str]


def describe(name: str, node: Any) -> Described:
    """The class that an option of `params` was made from."""
    made = {"maskcut": MaskCutParams, **dict.fromkeys(ARCHITECTURES, DetectorConfig)}
    kind = made.get(name) or get_class(node["_target_"])
    summary = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return Described(kind, summary, {**_listed(kind), **_below(kind)})


def _listed(kind: type[Any]) -> dict[str, str]:
    """Entries of `Args:` or `Attributes:`, with their further lines."""
    comments: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        if entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            comments |= dict.fromkeys(names, entry[2])
        elif line.startswith("        "):
            comments |= {name: f"{comments[name]} {line.strip()}" for name in names}
        else:
            names = []
    return comments


def _below(kind: type[Any]) -> dict[str, str]:
    """Strings below the fields."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
