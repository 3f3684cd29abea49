"""What computes the networks of a detector: PyTorch, PyTorch with faster convolutions, onnxruntime or OpenVINO.

What lies between the networks (resizing, proposals, suppression, pooling, masks) stays PyTorch's, so that images of any
size and any number of objects give the detections that they give without a backend.
"""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.models.backends.registry import BACKENDS, Backend, choose_backend

__all__ = ["BACKENDS", "Backend", "choose_backend"]

__getattr__ = lazy_exports(__name__, {"cutler_pl.models.backends.registry": "BACKENDS Backend choose_backend"})
