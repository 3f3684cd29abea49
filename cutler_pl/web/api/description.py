"""The form of a request in the OpenAPI description, from the dataclass of its fields."""

from dataclasses import fields
from typing import Any

from cutler_pl.runtime.ranges import LARGEST, AnyOf, Choice, Integer, Number, Rule, rules_of
from cutler_pl.web.api.answers import Detections, Error
from cutler_pl.web.api.form import FIELD
from cutler_pl.web.uploads import FORMATS

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Detections, "description": "The objects, best first"},
    400: {"model": Error, "description": "The image is damaged, or a field has a value that it does not take"},
    413: {"model": Error, "description": "Too many bytes or pixels"},
    415: {"model": Error, "description": "No image file, or no multipart form"},
    422: {"model": Error, "description": f"The field {FIELD} is missing, or holds no file"},
    429: {"model": Error, "description": "Too many requests are waiting"},
    500: {"model": Error, "description": "The server failed; it goes on"},
    504: {"model": Error, "description": "No answer in time"},
}


def request_body(options: Any) -> dict[str, Any]:
    """A multipart form of the image file and the fields of a dataclass of options."""
    notes = _attributes(options)
    properties: dict[str, Any] = {
        FIELD: {"type": "string", "format": "binary", "description": f"The content of an image file: {FORMATS}."}
    }
    for field in fields(options):
        rule = rules_of(options)[field.name]
        properties[field.name] = {**_schema(rule), "default": field.default, "description": notes[field.name]}
    form = {"type": "object", "required": [FIELD], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def _schema(rule: Rule) -> dict[str, Any]:
    """JSON Schema of a rule; null is left out, since a field that is not sent stands for it."""
    if isinstance(rule, AnyOf):
        return next(schema for part in rule.rules if (schema := _schema(part)) != {"enum": [None]})
    if isinstance(rule, Integer):
        return {"type": "integer", "minimum": rule.min, **({"maximum": rule.max} if rule.max < LARGEST else {})}
    if isinstance(rule, Number):
        bounds = {
            "minimum": rule.min, "maximum": rule.max, "exclusiveMinimum": rule.above, "exclusiveMaximum": rule.below,
        }  # fmt: skip
        return {"type": "number", **{name: bound for name, bound in bounds.items() if bound is not None}}
    if isinstance(rule, Choice) and set(rule.values) == {True, False}:
        return {"type": "boolean"}
    return {"enum": list(rule.values)} if isinstance(rule, Choice) else {"type": "string"}


def _attributes(owner: type) -> dict[str, str]:
    """The texts of the attributes in the docstrings of a class and those it derives from."""
    found: dict[str, str] = {}
    for one in owner.__mro__[:-1]:
        for line in (one.__doc__ or "").partition("Attributes:")[2].splitlines():
            name, _, text = line.strip().partition(": ")
            if text:
                found.setdefault(name, text)
    return found
