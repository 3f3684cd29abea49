"""Reading pickled arrays without running anything a file asks for.

A pickle names functions to call. Here each name is looked up in a short table of stand-ins of our own, which only
note numeric arrays and tensors; a name that is not in it ends the reading. Not even NumPy's or PyTorch's own
constructors are called, since they accept states that break memory. Before that the instructions are read without
obeying them: lengths and memo positions beyond the file would take memory that the file does not have.
"""

import io
import mmap
import pickle
import pickletools
import re
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.runtime.limits import PICKLE_INSTRUCTIONS, UNFOLDING

_SPARE_BYTES = 1 << 20
_SPARE_TENSOR_BYTES = 1 << 29  # of tensors that repeat numbers, which take no memory until a model is built
_NUMBER = re.compile(r"[biuf]\d{1,2}|\?")

Stream = io.BytesIO | mmap.mmap
StandIns = Mapping[str, Any]


class _Dtype:
    """Stands for `numpy.dtype`; numbers only."""

    def __init__(self, code: str, align: object = None, copy: object = None) -> None:
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"arrays of {code!r} are not numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray`, as `_reconstruct` makes it: empty until its state comes."""

    parts: tuple[Any, ...] = ()
    axis_order: tuple[int, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.parts = (data, dtype, shape, "F" if fortran else "C")

    @property
    def nbytes(self) -> int:
        return len(self.parts[0])

    def build(self) -> np.ndarray:
        data, dtype, shape, order = self.parts
        data = data.encode("latin1") if isinstance(data, str) else data  # written by Python 2
        flat = np.frombuffer(data, dtype.value)
        array = flat.reshape(shape, order="F" if order == "F" else "C").astype(dtype.value.newbyteorder("="))
        return array if self.axis_order is None else array.transpose(self.axis_order)


class Ignored:
    """Stands for settings that lie beside the weights."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Deferred(ABC):
    """What becomes a value once the whole pickle is read."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of the value."""

    @abstractmethod
    def build(self) -> Any:
        """The value."""


class LimitError(pickle.UnpicklingError):
    """More than a limit that an option raises."""


class _Budget:
    """Bytes that a file may still turn into, about as many as it has."""

    def __init__(self, size: int, *, spare: int = _SPARE_BYTES) -> None:
        self._left = UNFOLDING.value() * size + spare

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise LimitError(f"it unfolds to more than {UNFOLDING.value()} times its size; {UNFOLDING.way_out()}")


class _Call:
    """A stand-in function, wrapped so that a file cannot set attributes on the function itself."""

    __slots__ = ("_budget", "_function")

    def __init__(self, function: Callable[..., Any], budget: _Budget) -> None:
        self._function = function
        self._budget = budget

    def __call__(self, *args: Any) -> Any:
        result = self._function(*args)
        if isinstance(result, bytes):
            self._budget.take(len(result))
        return result


def _reconstruct(subtype: object, shape: object, typecode: object) -> _Array:
    return _Array()


def _frombuffer(
    data: bytes | bytearray,
    dtype: _Dtype,
    shape: tuple[int, ...],
    order: str,
    axis_order: tuple[int, ...] | None = None,
) -> _Array:
    array = _Array()
    array.parts = (data, dtype, shape, order)
    array.axis_order = axis_order
    return array


def _scalar(dtype: _Dtype, data: bytes | str) -> Any:
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.value, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_STAND_INS: dict[str, Any] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "argparse.Namespace": Ignored,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: Stream, stand_ins: StandIns, budget: _Budget, stored: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(stream, encoding="latin1")
        self._stand_ins = {**_STAND_INS, **stand_ins}
        self._budget = budget
        self._stored = stored

    def find_class(self, module: str, name: str) -> Any:
        stand_in = self._stand_ins.get(f"{module}.{name}")
        if stand_in is None:
            raise RefusedError(f"{module}.{name}")
        return stand_in if isinstance(stand_in, type) or not callable(stand_in) else _Call(stand_in, self._budget)

    def persistent_load(self, pid: Any) -> Any:
        if self._stored is None:
            raise pickle.UnpicklingError("it refers to data outside the file")
        return self._stored(pid)


class RefusedError(pickle.UnpicklingError):
    """A name that is not in the table."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numeric arrays in built-in containers.

    Raises:
        CheckpointError: The file asks for anything else, or is damaged. Nothing of it has been run.
    """
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            size = len(stream)
            return plain(unpickle(stream, size=size), size=size)
    except ConfigError:  # of a limit's option
        raise
    except Exception as error:
        raise unreadable(path, error, "a pickle of arrays") from error


def unpickle(
    stream: Stream, *, size: int, stand_ins: StandIns | None = None, stored: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle of a stream, which then stands behind it.

    Args:
        stream: Memory of a file; reading beyond the end gives what is left.
        size: Bytes of the whole file, which bound what it may unfold to.
        stand_ins: Further names and what stands for them.
        stored: What stands for data outside the pickle.

    Raises:
        UnpicklingError: The pickle asks for a name that is not in the table, or for more memory than the file has.
    """
    start = stream.tell()
    _check_instructions(stream)
    stream.seek(start)
    return _Unpickler(stream, stand_ins or {}, _Budget(size), stored).load()


def _check_instructions(stream: Stream) -> None:
    argument: Any
    limit = PICKLE_INSTRUCTIONS.value()
    for number, (instruction, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        if number >= limit:
            raise LimitError(f"it has more than {limit:,} instructions; {PICKLE_INSTRUCTIONS.way_out()}")
        puts = instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None
        if puts and not 0 <= argument <= number + 1:
            raise pickle.UnpicklingError(f"its memo position {argument} lies beyond its {number} instructions")


def unreadable(path: str | Path, error: Exception, kind: str) -> CheckpointError:
    """The sentence for a file that is damaged, or asks for what is refused."""
    if isinstance(error, RefusedError):
        return CheckpointError(
            f"{path}: refused, since reading it would run {str(error)!r} of the file's choosing; only tensors, arrays "
            "and built-in containers are read, so save the weights alone and give that file"
        )
    if isinstance(error, LimitError):
        return CheckpointError(f"{path}: refused, since {error}")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(f"{path}: not readable as {kind} ({reason}); fetch or write the file again")


def plain(value: Any, *, size: int) -> Any:
    """The value with arrays and tensors in place of their stand-ins, of a file of `size` bytes."""
    return _plain(value, _Budget(size), _Budget(size, spare=_SPARE_TENSOR_BYTES), {})


def _plain(value: Any, budget: _Budget, tensors: _Budget, built: dict[int, Any]) -> Any:
    budget.take(4)
    if isinstance(value, _Array | Deferred):
        if id(value) not in built:
            (budget if isinstance(value, _Array) else tensors).take(value.nbytes)
            built[id(value)] = value.build()
        return built[id(value)]
    if isinstance(value, Mapping):
        return {key: _plain(part, budget, tensors, built) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_plain(part, budget, tensors, built) for part in value]
        return tuple(parts) if type(value) is tuple else parts
    return None if isinstance(value, Ignored | _Dtype | _Call | type) else value
