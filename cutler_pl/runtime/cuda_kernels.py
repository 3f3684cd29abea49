"""Launching the project's CUDA kernels: one thread per item, tensors passed without a copy.

In every `.cu` file the first parameter is the number of items; tensors arrive as pointers, integers as `long long`,
floats as `double`. Kernels use no shared memory, so that the tests run the same source on a CPU.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.runtime.imports import cupy_or_none, require
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

THREADS = 256
"""Threads per block."""

COMPILER_OPTIONS = ("--std=c++17", "--fmad=false")
"""No fused multiply-add: the same order of additions gives the same bits as on a CPU."""


@runtime_checkable
class Kernels(Protocol):
    """The kernels of one `.cu` file, on one kind of device."""

    def __call__(self, name: str, items: int, *arguments: Tensor | int | float) -> None:
        """Run a kernel over `items` threads; it writes into tensors among the arguments."""
        ...

    def __hash__(self) -> int:
        """There is one object per file, so that it can be part of a cache key."""
        ...


class CudaKernels:
    """The kernels of a `.cu` file, compiled for the device by CuPy, which caches the machine code.

    Raises:
        OptionalDependencyError: CuPy is not installed.
    """

    def __init__(self, source: Path) -> None:
        self._cupy = require("cupy", extra="gpu", purpose="MaskCut's fast path on a GPU")
        self._module = self._cupy.RawModule(code=source.read_text(), options=COMPILER_OPTIONS)
        self._function = cache(self._module.get_function)
        self._stream = cache(self._wrap_stream)

    def __call__(self, name: str, items: int, *arguments: Tensor | int | float) -> None:
        """Queue a kernel on torch's current stream of the tensors' device."""
        if items == 0:
            return
        device = next(a.device for a in arguments if isinstance(a, Tensor))
        stream = torch.cuda.current_stream(device).cuda_stream
        blocks = -(-items // THREADS)
        with self._cupy.cuda.Device(device.index), self._stream(stream):
            self._function(name)((blocks,), (THREADS,), (np.int64(items), *map(kernel_argument, arguments)))

    def _wrap_stream(self, pointer: int) -> Any:
        streams = self._cupy.cuda
        if pointer == 0:
            return streams.Stream.null
        if hasattr(streams.Stream, "from_external"):  # CuPy 14
            return streams.Stream.from_external(_Stream(pointer))
        return streams.ExternalStream(pointer)


@dataclass(frozen=True)
class _Stream:
    """A stream of torch's in the CUDA stream protocol."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def kernel_argument(value: Tensor | int | float) -> np.generic:
    """Argument in the kernels' calling convention.

    Raises:
        InputError: A tensor is not contiguous.
    """
    if isinstance(value, Tensor):
        if not value.is_contiguous():
            raise InputError(f"a kernel was given a tensor of shape {tuple(value.shape)} that is not contiguous")
        return np.uint64(value.data_ptr())
    return np.float64(value) if isinstance(value, float) else np.int64(value)


def kernels_for(source: Path, device: torch.device) -> Kernels | None:
    """The kernels of a file for a device; None on a CPU, and without CuPy, which is logged once."""
    if device.type != "cuda":
        return None
    if cupy_or_none() is None:
        _warn_once_without_cupy()
        return None
    return _compiled(source)


@cache
def _warn_once_without_cupy() -> None:
    log.warning(
        "no CuPy for this GPU: MaskCut runs without its CUDA kernels, which is slower; pip install 'cutler_pl[gpu]' "
        "(for CUDA 12: 'cutler_pl[gpu-cuda12]')"
    )


@cache
def _compiled(source: Path) -> Kernels:
    return CudaKernels(source)
