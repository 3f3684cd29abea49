"""Which values a setting takes: declared in annotations, checked in one sentence that names the setting.

`tau: Annotated[float, Number(min=0, below=1)]` declares a field of a parameter class, whose `__post_init__` calls
`check_fields`; `bool`, `str`, `Literal`, tuples and None follow from the annotation alone. `check_arguments` does the
same for functions. NaN and infinity are no numbers, `true` is no number, 1.5 is no integer, a text is neither.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from inspect import signature
from itertools import pairwise
from math import inf, isfinite
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from cutler_pl.errors import ConfigError, CutlerError

P = ParamSpec("P")
R = TypeVar("R")
Bound = int | float | None
LARGEST = 2**31 - 1
_SHOWN = 60  # characters of a value in a sentence


class Rule(ABC):
    """What a value must be."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """It in words, for sentences."""

    @abstractmethod
    def read(self, value: Any) -> Any:
        """The value, whole numbers as floats where floats are declared; `ValueError` for what is not expected."""


@dataclass(frozen=True)
class Integer(Rule):
    """A whole number from `min` to `max`."""

    min: int = 0
    max: int = LARGEST

    @property
    def expected(self) -> str:
        """The range in words."""
        open_end = self.max == LARGEST
        return f"an integer {f'of at least {self.min}, below 2^31' if open_end else f'from {self.min} to {self.max}'}"

    def read(self, value: Any) -> int:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, Integral) or not self.min <= int(value) <= self.max:
            raise ValueError(value)
        return int(value)


@dataclass(frozen=True, kw_only=True)
class Number(Rule):
    """A finite number; `min` and `max` belong to the range, `above` and `below` do not."""

    min: Bound = None
    max: Bound = None
    above: Bound = None
    below: Bound = None

    @property
    def expected(self) -> str:
        """The range in words."""
        if self.min is not None and self.max is not None:
            return f"a number from {self.min:g} to {self.max:g}"
        words = {"of at least": self.min, "above": self.above, "of at most": self.max, "below": self.below}
        bounds = [f"{word} {bound:g}" for word, bound in words.items() if bound is not None]
        return " ".join(["a number", " and ".join(bounds)]) if bounds else "a finite number"

    def read(self, value: Any) -> float:
        """The number as a float."""
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(value)  # noqa: TRY004  # `check` makes the error of both
        try:
            number = float(value)
        except OverflowError as error:
            raise ValueError(value) from error
        low = -inf if self.min is None else self.min, -inf if self.above is None else self.above
        high = inf if self.max is None else self.max, inf if self.below is None else self.below
        if not (isfinite(number) and low[0] <= number <= high[0] and low[1] < number < high[1]):
            raise ValueError(value)
        return number


@dataclass(frozen=True)
class Choice(Rule):
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def expected(self) -> str:
        """The values."""
        shown = [show(value) for value in self.values]
        return f"one of {', '.join(shown)}" if len(shown) > 2 else " or ".join(shown)

    def read(self, value: Any) -> Any:
        """The value."""
        if not any(type(value) is type(choice) and value == choice for choice in self.values):
            raise ValueError(value)
        return value


@dataclass(frozen=True)
class Text(Rule):
    """A text on one line, and not empty."""

    expected = "a text on one line; quote numbers and special words twice, \"'2025'\""

    def read(self, value: Any) -> str:
        """The text."""
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise ValueError(value)
        return value


@dataclass(frozen=True)
class ListOf(Rule):
    """A list of so many items, each by the same rule."""

    item: Rule
    min_length: int = 1
    max_length: int = 1000
    rising: bool = False
    as_tuple: bool = False

    @property
    def expected(self) -> str:
        """Length, order and items in words."""
        exact = f"{self.min_length} items" if self.min_length == self.max_length else ""
        length = exact or ("one item or more" if self.min_length else "")
        order = "in rising order" if self.rising else ""
        return " ".join(part for part in ("a list", length and f"of {length}", order) if part) + (
            f", each {self.item.expected}"
        )

    def read(self, value: Any) -> Sequence[Any]:
        """The list, or a tuple of its items."""
        if not _is_list(value) or not self.min_length <= len(value) <= self.max_length:
            raise ValueError(value)
        items = [self.item.read(item) for item in value]
        if self.rising and any(a >= b for a, b in pairwise(items)):
            raise ValueError(value)
        return tuple(items) if self.as_tuple or isinstance(value, tuple) else items


@dataclass(frozen=True)
class AnyOf(Rule):
    """What one of several rules accepts."""

    rules: tuple[Rule, ...]

    @property
    def expected(self) -> str:
        """The alternatives."""
        return " or ".join(rule.expected for rule in self.rules)

    def read(self, value: Any) -> Any:
        """The value as the first rule that accepts it reads it."""
        for rule in self.rules:
            try:
                return rule.read(value)
            except ValueError:
                continue
        raise ValueError(value)


NULL, FLAG = Choice((None,)), Choice((True, False))
COUNT, SHARE, POSITIVE = Integer(1), Number(min=0, max=1), Number(above=0)
Count = Annotated[int, COUNT]
Share = Annotated[float, SHARE]
"""A share, an IoU, a score or a probability."""
Shares = Annotated[Sequence[float], ListOf(SHARE, as_tuple=True)]


def optional(rule: Rule) -> Rule:
    """The rule, and null."""
    return AnyOf((rule, Choice((None,))))


def check(name: str, value: Any, rule: Rule, *, error: type[CutlerError] = ConfigError) -> Any:
    """The value as the rule reads it.

    Raises:
        CutlerError: It is not what the rule says; the sentence begins with `name=`.
    """
    try:
        return rule.read(value)
    except ValueError:
        raise error(f"{name}={show(value)}: expected {rule.expected}") from None


def show(value: Any) -> str:
    """A value as it is written in settings, short and on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if _is_list(value):
        text = f"[{', '.join(show(item) for item in value[:_SHOWN])}]"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(map(str, value)) + "}"
    else:
        text = str(value)
        if isinstance(value, str) and (not text.strip() or not text.isprintable() or _is_number(text)):
            text = repr(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@cache
def rules_of(owner: Any) -> dict[str, Rule]:
    """The rules of the fields of a parameter class, or of the arguments of a function, where there are any."""
    found = {name: rule_of(parameter.annotation) for name, parameter in signature(owner).parameters.items()}
    return {name: rule for name, rule in found.items() if rule is not None}


def rule_of(annotation: Any) -> Rule | None:
    """What an annotation says of a value; None for anything but numbers, texts, choices and lists of them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next((part for part in arguments[1:] if isinstance(part, Rule)), None) or rule_of(arguments[0])
    if origin is Literal:
        return Choice(arguments)
    if origin in (Union, UnionType):
        rules = [rule for part in arguments if (rule := rule_of(part)) is not None]
        return AnyOf(tuple(rules)) if len(rules) == len(arguments) else None
    if origin in (tuple, Sequence) and (item := rule_of(arguments[0])) is not None:
        lengths = (1, 1000) if origin is Sequence or arguments[-1] is ... else (len(arguments), len(arguments))
        return ListOf(item, *lengths, as_tuple=origin is tuple)
    simple: dict[Any, Rule] = {bool: FLAG, int: Integer(), float: Number(), str: Text(), NoneType: NULL}
    return simple.get(annotation) if isinstance(annotation, type) else None


def check_fields(params: Any, prefix: str = "") -> None:
    """Check the fields of a parameter class in its `__post_init__`, and turn whole numbers into floats and such.

    Args:
        params: An instance; it may be frozen.
        prefix: What its settings' names begin with, such as `maskcut.`.

    Raises:
        ConfigError: A value is not what its annotation says.
    """
    owner: Any = type(params)
    for name, rule in rules_of(owner).items():
        object.__setattr__(params, name, check(prefix + name, getattr(params, name), rule))


def check_arguments(prefix: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator that checks the arguments of a function, or of an `__init__`, as `check_fields` does."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature(function).bind(*args, **kwargs)
            for name, rule in rules_of(function).items():
                if name in bound.arguments:
                    bound.arguments[name] = check(prefix + name, bound.arguments[name], rule)
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate
