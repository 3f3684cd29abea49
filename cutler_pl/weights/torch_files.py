"""Reading the files of `torch.save`, today's zip archives and those from before PyTorch 1.6, within their bounds.

`torch.load` takes the number of elements of a tensor on trust and does not check the archive's checksums. Here the
pickle goes through `safe_pickle`, every part is checked by its CRC-32, and a tensor lies within its part.
"""

import io
import math
import mmap
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.weights.safe_pickle import Deferred, Ignored, plain, unpickle, unreadable

ZIP_START = b"PK\x03\x04"
_OLD_PICKLES = 3  # before the content: a fixed number, the version, sizes of numbers on the writer's machine
_MAX_DIMENSIONS = 64
_MAX_EXPANDED = 1 << 26  # elements of a tensor that repeats fewer, which takes no memory here
_STORED_TYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip


class _StoredType:
    """Stands for a class of storages."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Storage:
    """Numbers of one part of the file, read when first asked for."""

    def __init__(self, dtype: torch.dtype, count: int, read: Callable[[], bytes]) -> None:
        self.dtype = dtype
        self.count = count
        self._read = read
        self._numbers: Tensor | None = None

    def numbers(self) -> Tensor:
        if self._numbers is None:
            needed = self.count * self.dtype.itemsize
            content = self._read() if needed else b""
            if len(content) < needed:
                raise pickle.UnpicklingError(f"a tensor of {needed:,} bytes has {len(content):,} in the file")
            flat = torch.frombuffer(bytearray(content), dtype=self.dtype, count=self.count) if needed else None
            self._numbers = torch.empty(0, dtype=self.dtype) if flat is None else flat
        return self._numbers


class _Tensor(Deferred):
    """Stands for a tensor."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
            raise pickle.UnpicklingError("a tensor's place is not described by whole numbers")
        if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS:
            raise pickle.UnpicklingError(f"a tensor has {len(shape)} sizes and {len(stride)} strides")
        self._last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        self._place = (shape, stride, offset)
        self._storage = storage

    @property
    def nbytes(self) -> int:
        return math.prod(self._place[0]) * self._storage.dtype.itemsize

    def build(self) -> Tensor:
        shape, stride, offset = self._place
        if 0 in shape:
            return torch.empty(shape, dtype=self._storage.dtype)
        if self._last >= self._storage.count or math.prod(shape) > max(self._storage.count, _MAX_EXPANDED):
            raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} lies outside its storage")
        return self._storage.numbers().as_strided(shape, stride, offset)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _first(value: Any, *_: object) -> Any:
    return value


_STAND_INS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.Size": tuple,
    "torch.device": Ignored,
    "torch.storage.UntypedStorage": _StoredType(torch.uint8),
    **{f"torch.{name}Storage": _StoredType(dtype) for name, dtype in _STORED_TYPES.items()},
    **{str(dtype): str(dtype) for dtype in _STORED_TYPES.values()},
}


def load_torch(path: str | Path) -> Any:
    """Read a file of `torch.save`, tensors, arrays and built-in containers only, onto the CPU.

    Raises:
        CheckpointError: The file asks for anything else, or is damaged. Nothing of it has been run.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(ZIP_START))
            size = file.seek(0, io.SEEK_END)
            if start == ZIP_START:
                with zipfile.ZipFile(file) as archive:
                    return _load_zip(archive, size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
                return _load_old(stream, size)
    except (CheckpointError, ConfigError):
        raise
    except Exception as error:
        raise unreadable(path, error, "a PyTorch checkpoint") from error


def _load_zip(archive: zipfile.ZipFile, size: int) -> Any:
    parts = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in parts.values()):
        raise pickle.UnpicklingError("its parts are compressed or encrypted, which torch.save never does")
    if len(parts) != len(archive.infolist()) or sum(info.file_size for info in parts.values()) > size:
        raise pickle.UnpicklingError("its parts overlap")
    pickles = [name for name in parts if PurePosixPath(name).name == "data.pkl"]
    if len(pickles) != 1:
        raise pickle.UnpicklingError(f"it has {len(pickles)} parts named data.pkl instead of one")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in parts and archive.read(f"{folder}byteorder") != b"little":
        raise pickle.UnpicklingError("its numbers are big-endian")
    storages: dict[str, _Storage] = {}

    def stored(pid: Any) -> _Storage:
        dtype, key, count = _described(pid)
        name = f"{folder}data/{key}"
        return _known(storages, key, dtype, count, lambda: archive.read(name))

    content = unpickle(io.BytesIO(archive.read(pickles[0])), size=size, stand_ins=_STAND_INS, stored=stored)
    value = plain(content, size=size)
    for name in parts.keys() - {pickles[0], *(f"{folder}data/{key}" for key in storages)}:
        archive.read(name)  # for its checksum
    return value


def _load_old(stream: mmap.mmap, size: int) -> Any:
    storages: dict[str, _Storage] = {}
    places: dict[str, tuple[int, int]] = {}

    def stored(pid: Any) -> _Storage:
        dtype, key, count = _described(pid)

        def read() -> bytes:
            start, end = places[key]
            return stream[start:end]

        return _known(storages, key, dtype, count, read)

    for _ in range(_OLD_PICKLES):
        unpickle(stream, size=size)
    content = unpickle(stream, size=size, stand_ins=_STAND_INS, stored=stored)
    position = None
    for key in unpickle(stream, size=size):
        start = (stream.tell() if position is None else position) + 8
        storage = storages[key]
        if int.from_bytes(stream[start - 8 : start], "little") != storage.count:
            raise pickle.UnpicklingError("the sizes of its tensors contradict one another")
        position = start + storage.count * storage.dtype.itemsize
        places[key] = (start, position)
    return plain(content, size=size)


def _described(pid: Any) -> tuple[torch.dtype, str, int]:
    """Type, key and number of elements of a storage."""
    kind, stored_type, key, _, count, *view = pid
    is_plain = kind == "storage" and isinstance(stored_type, _StoredType) and isinstance(key, str)
    if not is_plain or type(count) is not int or count < 0 or any(part is not None for part in view):
        raise pickle.UnpicklingError("it refers to data that is no storage of numbers")
    return stored_type.dtype, key, count


def _known(
    storages: dict[str, _Storage], key: str, dtype: torch.dtype, count: int, read: Callable[[], bytes]
) -> _Storage:
    storage = storages.setdefault(key, _Storage(dtype, count, read))
    if (storage.dtype, storage.count) != (dtype, count):
        raise pickle.UnpicklingError("the sizes of its tensors contradict one another")
    return storage
