"""The backends by name, and their protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from cutler_pl.errors import ConfigError
from cutler_pl.models.backends.cache import cached_parts
from cutler_pl.models.backends.networks import install_networks
from cutler_pl.models.backends.onnx_parts import check_parts
from cutler_pl.models.backends.runtimes import OnnxRuntime, OpenVino, Runtime
from cutler_pl.models.backends.winograd import WinogradBackend
from cutler_pl.models.detector import Detector


@runtime_checkable
class Backend(Protocol):
    """What computes the networks of a detector."""

    def check(self, device: torch.device) -> None:
        """Make sure that it can run, before anything is loaded.

        Raises:
            OptionalDependencyError: Its package is missing.
            ConfigError: It does not run on this device.
        """

    def install(self, detector: Detector, *, exported: str | Path | None = None) -> None:
        """Let it compute the networks of a detector from now on.

        Args:
            detector: In eval mode, on the CPU.
            exported: Folder that `cutler export` wrote of the same weights; None for the cache.

        Raises:
            CheckpointError: The folder holds no networks, or those of other weights.
            OutputWriteError: The cache cannot be written.
        """


@dataclass(frozen=True)
class TorchBackend:
    """PyTorch: the detector stays as it is."""

    def check(self, device: torch.device) -> None:
        """Always runs."""

    def install(self, detector: Detector, *, exported: str | Path | None = None) -> None:
        """Change nothing."""
        if exported is not None:
            raise ConfigError(f"exported={exported}: backend=torch reads no exported networks; leave it out")


@dataclass(frozen=True)
class OnnxBackend:
    """Networks as ONNX files in another runtime, on a CPU.

    Attributes:
        name: Of the backend.
        runtime: What runs the files.
    """

    name: str
    runtime: Runtime

    def check(self, device: torch.device) -> None:
        """See `Backend`."""
        if device.type != "cpu":
            raise ConfigError(
                f"backend={self.name} runs on a CPU and the device is {device}; take device=cpu, or backend=torch"
            )
        self.runtime.require()

    def install(self, detector: Detector, *, exported: str | Path | None = None) -> None:
        """See `Backend`."""
        if exported is None:
            folder = cached_parts(detector)
        else:
            folder = Path(exported)
            check_parts(detector, folder)
        install_networks(detector, folder, self.runtime)


def _in_32_bits(make: Callable[[], Backend], name: str, bfloat16: bool) -> Backend:
    if bfloat16:
        raise ConfigError(
            f"backend={name} computes in 32 bits; leave half and trainer.precision out, or take backend=openvino"
        )
    return make()


BACKENDS: dict[str, Callable[[bool], Backend]] = {
    "torch": lambda bfloat16: TorchBackend(),
    "winograd": partial(_in_32_bits, WinogradBackend, "winograd"),
    "onnx": partial(_in_32_bits, partial(OnnxBackend, "onnx", OnnxRuntime()), "onnx"),
    "openvino": lambda bfloat16: OnnxBackend("openvino", OpenVino(bfloat16)),
}
"""Makers of the backends by name, each told whether to compute in bfloat16; PyTorch does so under autocast."""


def choose_backend(name: "str | Backend", *, bfloat16: bool = False) -> Backend:
    """A backend by name; one that is a backend already is returned.

    Raises:
        ConfigError: There is no such backend.
    """
    if not isinstance(name, str):
        return name
    if name not in BACKENDS:
        raise ConfigError(f"backend={name!r} does not exist; choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name](bfloat16)
