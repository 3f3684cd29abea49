"""Names of the backends, which settings are checked against without loading PyTorch's networks."""

from typing import Literal

BackendName = Literal["torch", "winograd", "onnx", "openvino"]
