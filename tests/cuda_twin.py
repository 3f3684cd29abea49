"""CUDA kernels on the CPU: the very same source, compiled for it, one thread after the other.

Kernels here use no shared memory and no barrier, so that running their threads in a row is a legal schedule of theirs:
indices, bounds, order of additions and atomics are those of the GPU.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from cutler_pl.runtime.cuda_kernels import THREADS, kernel_argument

_PRELUDE = """
#include <math.h>
#define __global__
#define __device__ static inline
struct Dim3 { unsigned x, y, z; };
static Dim3 threadIdx, blockIdx, blockDim = {THREADS, 1, 1};
template <class T> T atomicMin(T* place, T value) {
    const T before = *place;
    if (value < before) *place = value;
    return before;
}
""".replace("THREADS", str(THREADS))

_RUNNER = """
template <int... I> struct Sequence {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> { using type = Sequence<I...>; };
template <class... P, int... I>
static void run(void (*kernel)(long long, P...), long long items, void** a, Sequence<I...>) {
    const long long blocks = (items + blockDim.x - 1) / blockDim.x;
    for (long long block = 0; block < blocks; ++block)
        for (unsigned thread = 0; thread < blockDim.x; ++thread) {
            blockIdx.x = (unsigned)block;
            threadIdx.x = thread;
            kernel(items, *(P*)a[I]...);
        }
}
template <class... P> static void run(void (*kernel)(long long, P...), long long items, void** a) {
    run(kernel, items, a, typename Count<sizeof...(P)>::type{});
}
"""


_OPTIONS = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wno-div-by-zero"]
# The loop over threads must not turn into SIMD code whose sums are taken in another order: no -ffast-math


def compiler() -> list[str]:
    """The command of a C++ compiler: the system's, else the one of the package `ziglang`."""
    for name in ("g++", "clang++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++", "-nostdlib++", "-fno-sanitize=undefined"]
    pytest.skip("no C++ compiler: install g++ or the package ziglang, which the extra dev holds")


class CpuTwin:
    """The kernels of one `.cu` file for tensors on the CPU."""

    def __init__(self, source: Path) -> None:
        text = source.read_text()
        self.names = re.findall(r"__global__ void (\w+)", text)
        entries = "".join(
            f'extern "C" void run_{name}(long long items, void** a) {{ run({name}, items, a); }}\n'
            for name in self.names
        )
        code = _PRELUDE + text + _RUNNER + entries
        command = [*compiler(), *_OPTIONS]
        digest = hashlib.sha256("\n".join([*command, code]).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"cuda_twin_{digest}"
        library = folder / "kernels.so"
        if not library.exists():
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as building:  # other workers may build it, too
                source_file, built = Path(building) / "kernels.cpp", Path(building) / "kernels.so"
                source_file.write_text(code)
                kept = str(folder.with_name("cuda_twin_zig"))
                caches = {"ZIG_GLOBAL_CACHE_DIR": kept, "ZIG_LOCAL_CACHE_DIR": building}
                subprocess.run([*command, str(source_file), "-o", str(built)], check=True, env=os.environ | caches)
                built.rename(library)
        self._library = ctypes.CDLL(str(library))

    def __call__(self, name: str, items: int, *arguments: Tensor | int | float) -> None:
        """Run a kernel."""
        cells = [np.array([kernel_argument(a)]) for a in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*[cell.ctypes.data for cell in cells])
        getattr(self._library, f"run_{name}")(ctypes.c_longlong(items), pointers)
