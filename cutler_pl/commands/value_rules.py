"""Rules of settings that are no plain values, and those of parameter classes under the names of their settings."""

from collections.abc import Mapping
from typing import Any

from cutler_pl.runtime.ranges import Rule, rules_of


class Group(Rule):
    """Settings below a name."""

    expected = "settings below this name, or an option of the group"

    def read(self, value: Any) -> Any:
        """The settings."""
        if not isinstance(value, Mapping):
            raise ValueError(value)  # noqa: TRY004  # `check` makes the error of it
        return value


class Free(Rule):
    """A path, or what belongs to another package or is checked where it is used; anything below it, too."""

    expected = "anything"

    def read(self, value: Any) -> Any:
        """The value."""
        return value


Rules = Mapping[str, Rule]


def fields_of(prefix: str, *owners: Any) -> Rules:
    """The rules of parameter classes under the names of their settings."""
    return {f"{prefix}{name}": rule for owner in owners for name, rule in rules_of(owner).items()}
