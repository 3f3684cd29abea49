"""Reading pickled arrays without running anything a file asks for.

A pickle names functions to call. Here each name is looked up in a short table of stand-ins of our own, which only
build numeric arrays; a name that is not in it ends the reading. Not even NumPy's own constructors are called, since
they accept states that break memory. The same table serves `torch.load(weights_only=True)`, which knows no NumPy
scalars, though training checkpoints may hold them beside the weights.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutler_pl.errors import CheckpointError

_NUMBER = re.compile(r"[biuf]\d{1,2}|\?")


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

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # written by Python 2
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


class _Ignored:
    """Stands for settings that lie beside the weights."""

    def __setstate__(self, state: object) -> None:
        pass


class _Call:
    """A stand-in function, wrapped so that a file cannot set attributes on the function itself."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _array(data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    flat = np.frombuffer(data, dtype.value)
    return flat.reshape(shape, order="F" if order == "F" else "C").astype(dtype.value.newbyteorder("="))


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
    array.value = _array(data, dtype, shape, order)
    if axis_order is not None:
        array.value = array.value.transpose(axis_order)
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


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "argparse.Namespace": _Ignored,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": OrderedDict,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise _RefusedError(f"{module}.{name}")
        return stand_in if isinstance(stand_in, type) else _Call(stand_in)


class _RefusedError(pickle.UnpicklingError):
    """A name that is not in the table."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numeric arrays in built-in containers.

    Raises:
        CheckpointError: The file asks for anything else, or is damaged. Nothing of it has been run.
    """
    try:
        with Path(path).open("rb") as file:
            return _plain(_Unpickler(file, encoding="latin1").load())
    except _RefusedError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:
        raise CheckpointError(
            f"{path}: not readable as a pickle of arrays ({error}); fetch or write the file again"
        ) from error


def load_torch(path: str | Path) -> Any:
    """Read a file of `torch.save`, tensors, arrays and built-in containers only, onto the CPU.

    Raises:
        CheckpointError: The file asks for anything else, or is damaged. Nothing of it has been run.
    """
    stand_ins = [(function, name) for name, function in _STAND_INS.items() if function is not OrderedDict]
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise _refusal(path, refused[1]) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not readable as a PyTorch checkpoint ({reason}); fetch or write the file again"
        ) from error


def _refusal(path: str | Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, since reading it would run {name!r} of the file's choosing; only tensors, arrays and "
        "built-in containers are read, so save the weights alone and give that file"
    )


def _plain(value: Any) -> Any:
    """The value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else list(map(_plain, value))
    return None if isinstance(value, _Ignored | _Dtype | _Call) else value
