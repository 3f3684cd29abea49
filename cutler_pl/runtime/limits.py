"""Limits on what files of others may ask for. Each is raised or lowered by an environment variable.

Environment variables also reach loader workers, other ranks and callers of the Python API, which no setting of a
command does. A limit is read when it is needed, so a program may set it after an error and try again.
"""

import difflib
import os
from dataclasses import dataclass

from cutler_pl.errors import ConfigError

_PREFIX = "CUTLER_PL_MAX_"


@dataclass(frozen=True)
class Limit:
    """A limit and what it bounds."""

    option: str
    default: int
    meaning: str

    @property
    def is_set(self) -> bool:
        """Whether the environment has a value of its own."""
        return self.option in os.environ

    def value(self) -> int:
        """The limit now.

        Raises:
            ConfigError: The environment variable is no whole number from 1 on.
        """
        text = os.environ.get(self.option)
        if text is None:
            return self.default
        number = text.strip().replace("_", "")
        if not (number.isascii() and number.isdigit() and len(number) < 19 and int(number)):
            raise ConfigError(
                f"{self.option}={text!r} should be a whole number from 1 on, such as {self.default}; set it anew, or "
                f"unset it for {self.default:,}"
            )
        return int(number)

    def way_out(self, needed: int | None = None) -> str:
        """How to raise the limit, for the end of a sentence; `needed` would be enough."""
        value = "<number>" if needed is None else str(needed)
        return f"if you trust it, raise the limit by the environment variable {self.option}={value}"


IMAGE_PIXELS = Limit(f"{_PREFIX}IMAGE_PIXELS", 180_000_000, "width times height of an image that is decoded")
REACH = Limit(f"{_PREFIX}REACH", 10, "distance of coordinates from their image, in lengths of its longer side")
OUTLINE = Limit(f"{_PREFIX}OUTLINE", 1 << 22, "pixels along the polygons of one object (fewer in small images)")
JSON_VALUE = Limit(f"{_PREFIX}JSON_VALUE", 1 << 28, "characters of one value of a COCO file that is read in passes")
PICKLE_INSTRUCTIONS = Limit(f"{_PREFIX}PICKLE_INSTRUCTIONS", 5_000_000, "instructions of a checkpoint's pickle")
UNFOLDING = Limit(f"{_PREFIX}UNFOLDING", 4, "memory of a checkpoint's content, in sizes of its file")
CHANNELS = Limit(f"{_PREFIX}CHANNELS", 1 << 16, "widths of layers and classes of a checkpoint's model")
TEST_SIZE = Limit(f"{_PREFIX}TEST_SIZE", 4096, "side in pixels that a detector resizes images to in inference")
DOWNLOAD_BYTES = Limit(f"{_PREFIX}DOWNLOAD_BYTES", 1 << 34, "bytes of a downloaded file")
UNPACKED_BYTES = Limit(f"{_PREFIX}UNPACKED_BYTES", 1 << 34, "bytes of a file unpacked from an archive")

LIMITS = (
    IMAGE_PIXELS, REACH, OUTLINE, JSON_VALUE, PICKLE_INSTRUCTIONS, UNFOLDING, CHANNELS, TEST_SIZE, DOWNLOAD_BYTES,
    UNPACKED_BYTES,
)  # fmt: skip
"""All limits, in the order in which they are listed."""


def check_limits() -> None:
    """Check all limits of the environment at once.

    Raises:
        ConfigError: A value is no whole number from 1 on, or there is no such limit.
    """
    known = [limit.option for limit in LIMITS]
    for option in sorted(os.environ):
        if option.startswith(_PREFIX) and option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{option}: there is no such limit{hint}; unset it or use one of {', '.join(known)}")
    for limit in LIMITS:
        limit.value()
