"""CUDA kernels on the CPU: the very same source, compiled by g++, one thread after the other.

Kernels here use no shared memory and no barrier, so that running their threads in a row is a legal schedule of theirs:
indices, bounds, order of additions and atomics are those of the GPU.
"""

import ctypes
import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

from cutler_pl.runtime.cuda_kernels import THREADS, kernel_argument

_PRELUDE = """
#include <cmath>
#include <cstddef>
#include <utility>
using std::fabs; using std::fmax; using std::fmin; using std::sqrt;
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
template <class... P, std::size_t... I>
static void run(void (*kernel)(long long, P...), long long items, void** a, std::index_sequence<I...>) {
    const long long blocks = (items + blockDim.x - 1) / blockDim.x;
    for (long long block = 0; block < blocks; ++block)
        for (unsigned thread = 0; thread < blockDim.x; ++thread) {
            blockIdx.x = (unsigned)block;
            threadIdx.x = thread;
            kernel(items, *(P*)a[I]...);
        }
}
template <class... P> static void run(void (*kernel)(long long, P...), long long items, void** a) {
    run(kernel, items, a, std::index_sequence_for<P...>{});
}
"""


class CpuTwin:
    """The kernels of one `.cu` file for tensors on the CPU."""

    def __init__(self, source: Path) -> None:
        text = source.read_text()
        self.names = re.findall(r"__global__ void (\w+)", text)
        entries = "".join(
            f'extern "C" void run_{name}(long long items, void** a) {{ run({name}, items, a); }}\n'
            for name in self.names
        )
        # the loop over threads must not turn into SIMD code whose sums are taken in another order: no -ffast-math
        code = _PRELUDE + text + _RUNNER + entries
        folder = Path(tempfile.gettempdir()) / f"cuda_twin_{hashlib.sha256(code.encode()).hexdigest()[:16]}"
        library = folder / "kernels.so"
        if not library.exists():
            folder.mkdir(exist_ok=True)
            (folder / "kernels.cpp").write_text(code)
            building = folder / f"building-{id(self)}.so"
            options = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wno-div-by-zero"]
            subprocess.run(["g++", *options, str(folder / "kernels.cpp"), "-o", str(building)], check=True)
            building.rename(library)
        self._library = ctypes.CDLL(str(library))

    def __call__(self, name: str, items: int, *arguments: Tensor | int | float) -> None:
        """Run a kernel."""
        cells = [np.array([kernel_argument(a)]) for a in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*[cell.ctypes.data for cell in cells])
        getattr(self._library, f"run_{name}")(ctypes.c_longlong(items), pointers)
