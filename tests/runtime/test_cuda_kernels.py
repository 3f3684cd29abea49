"""Every CUDA kernel compiles for the GPUs in use, with or without one at hand, and is called by the one rule."""

import logging
import sys
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cuda_twin import CpuTwin, compiler

import cutler_pl
from cutler_pl.errors import InputError, OptionalDependencyError
from cutler_pl.runtime import cuda_kernels
from cutler_pl.runtime.cuda_kernels import COMPILER_OPTIONS, CudaKernels, kernel_argument, kernels_for

PACKAGE = Path(cutler_pl.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.cu"))


def test_there_are_kernels() -> None:
    assert [s.stem for s in SOURCES]


def _room(size: int) -> bytes:
    """Bytes that NVRTC writes into; never of length 1, which Python shares with all the rest of the process."""
    return bytes(max(size, 2))


def test_every_kernel_compiles_without_a_gpu() -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="torch is a build without CUDA")
    for source, architecture in product(SOURCES, ("compute_80", "compute_90", "sm_80", "sm_90")):
        compile_source(nvrtc, source, architecture)


def compile_source(nvrtc: Any, source: Path, architecture: str) -> None:
    failed, program = nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], [])
    assert not failed
    options = [o.encode() for o in (*COMPILER_OPTIONS, f"--gpu-architecture={architecture}")]
    (failed,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = _room(nvrtc.nvrtcGetProgramLogSize(program)[1])
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.decode()
    ptx = _room(nvrtc.nvrtcGetPTXSize(program)[1])
    nvrtc.nvrtcGetPTX(program, ptx)
    for name in CpuTwin(source).names:
        assert f".entry {name}(" in ptx.decode()
    nvrtc.nvrtcDestroyProgram(program)


def test_arguments_follow_the_calling_rule() -> None:
    tensor = torch.zeros(3, 4)
    assert kernel_argument(tensor) == np.uint64(tensor.data_ptr())
    assert (kernel_argument(7).dtype, kernel_argument(7.5).dtype) == (np.int64, np.float64)
    with pytest.raises(InputError, match=r"shape \(4, 3\) that is not contiguous"):
        kernel_argument(tensor.T)


def test_a_cpu_has_no_kernels() -> None:
    assert kernels_for(SOURCES[0], torch.device("cpu")) is None


def test_without_cupy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OptionalDependencyError("pip install 'cutler_pl[gpu]'")

    monkeypatch.setattr(cuda_kernels, "require", missing)
    with pytest.raises(OptionalDependencyError, match=r"cutler_pl\[gpu\]"):
        CudaKernels(SOURCES[0])


def test_gpu_without_cupy_warns_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cuda_kernels, "cupy_or_none", lambda: None)
    cuda_kernels._warn_once_without_cupy.cache_clear()
    with caplog.at_level(logging.WARNING, logger="cutler_pl"):
        for source in SOURCES:
            assert kernels_for(source, torch.device("cuda")) is None
    (record,) = caplog.records
    assert "slower; pip install 'cutler_pl[gpu]'" in record.message


class FakeCupy:
    """Stands for CuPy: notes how kernels are launched."""

    def __init__(self) -> None:
        self.cuda = self
        self.launched: list[tuple] = []
        self.streams: list[object] = []
        self.Stream = SimpleNamespace(null=nullcontext(), from_external=self._wrap)

    def RawModule(self, code: str, options: tuple[str, ...]) -> "FakeCupy":  # noqa: N802
        assert "__global__" in code
        assert options == COMPILER_OPTIONS
        return self

    def Device(self, index: int | None) -> nullcontext[None]:  # noqa: N802
        return nullcontext()

    def ExternalStream(self, pointer: int) -> nullcontext[None]:  # noqa: N802
        """CuPy 13; deprecated since."""
        self.streams.append(pointer)
        return nullcontext()

    def _wrap(self, stream: Any) -> nullcontext[None]:
        self.streams.append(stream.__cuda_stream__())
        return nullcontext()

    def get_function(self, name: str):
        return lambda grid, block, arguments: self.launched.append((name, grid, block, arguments))


def test_a_launch_covers_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCupy()
    monkeypatch.setattr(cuda_kernels, "require", lambda *_, **__: cupy)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=11))
    run = CudaKernels(SOURCES[0])
    tensor = torch.zeros(600)
    run("components_start", 0, tensor)
    assert not cupy.launched
    run("components_start", 600, tensor, 3)
    ((name, grid, block, arguments),) = cupy.launched
    assert (name, grid, block) == ("components_start", (3,), (256,))
    assert [a.item() for a in arguments] == [600, tensor.data_ptr(), 3]


@pytest.mark.parametrize(("pointer", "is_old", "streams"), [(0, False, []), (11, False, [(0, 11)]), (11, True, [11])])
def test_launches_go_to_torchs_stream(
    pointer: int, is_old: bool, streams: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy = FakeCupy()
    if is_old:
        del cupy.Stream.from_external
    monkeypatch.setattr(cuda_kernels, "require", lambda *_, **__: cupy)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=pointer))
    run = CudaKernels(SOURCES[0])
    for _ in range(2):
        run("components_start", 1, torch.zeros(1))
    assert cupy.streams == streams


def test_twin_needs_no_system_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without g++ on the PATH, the compiler of the package index builds the same kernels."""
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler()[:3] == [sys.executable, "-m", "ziglang"]
    twin = CpuTwin(PACKAGE / "ops" / "cuda" / "components.cu")
    assert twin.names
