"""What the options of all generators share: they are checked when they are made, and are all that masks depend on."""

from dataclasses import asdict, dataclass
from typing import Any

from cutler_pl.runtime.ranges import check_fields


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """Base of the generators whose fields are the settings `generator.*`."""

    def __post_init__(self) -> None:
        check_fields(self, "generator.")

    def constants(self) -> dict[str, Any]:
        """See `Generator`."""
        return asdict(self)
