"""Many strings in two arrays: Python objects would be copied to every worker.

Names that are not UTF-8 have lone surrogates in Python and in JSON; they come back as they were.
"""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from jaxtyping import Int64, UInt8


class PackedStrings(Sequence[str]):
    """Read-only list of strings: a block of UTF-8 bytes and the offset of each string."""

    def __init__(self, data: UInt8[np.ndarray, " bytes"], offsets: Int64[np.ndarray, " strings_and_end"]) -> None:
        self.data = data
        self.offsets = offsets

    @classmethod
    def pack(cls, strings: Iterable[str]) -> "PackedStrings":
        """Copy strings into one block."""
        encoded = [string.encode(errors="surrogatepass") for string in strings]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes().decode(errors="surrogatepass")
