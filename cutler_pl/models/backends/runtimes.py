"""onnxruntime and OpenVINO on a CPU: both read the ONNX files and take arrays of any size."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from cutler_pl.runtime.imports import require

Session = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]
"""A loaded network: one array in, its outputs in order."""


@runtime_checkable
class Runtime(Protocol):
    """What runs an ONNX file."""

    def require(self) -> None:
        """Make sure that its package is installed.

        Raises:
            OptionalDependencyError: It is not.
        """

    def load(self, file: Path) -> Session:
        """Load a network; it computes on as many threads as PyTorch."""


@dataclass(frozen=True)
class OnnxRuntime:
    """onnxruntime on a CPU, in 32 bits."""

    def require(self) -> Any:
        """The package."""
        return require("onnxruntime", extra="export", purpose="backend=onnx")

    def load(self, file: Path) -> Session:
        """Load a network."""
        runtime = self.require()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda array: session.run(None, {given.name: array})


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO on a CPU.

    Attributes:
        bfloat16: Whether it computes in bfloat16: faster, and other detections.
    """

    bfloat16: bool = False

    def require(self) -> Any:
        """The package."""
        return require("openvino", extra="export", purpose="backend=openvino")

    def load(self, file: Path) -> Session:
        """Load a network."""
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if self.bfloat16 else "f32",
            "NUM_STREAMS": 1,
        }
        compiled = self.require().Core().compile_model(str(file), "CPU", settings)
        request, one_at_a_time = compiled.create_infer_request(), threading.Lock()

        def run(array: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
            with one_at_a_time:
                found = request.infer([array], share_inputs=True)
                return [found[output] for output in compiled.outputs]

        return run
