"""The networks of a detector in another runtime: ONNX files of its parts, run by onnxruntime or OpenVINO on a CPU.

What lies between the networks (resizing, proposals, suppression, pooling, masks) stays PyTorch's, so that images of any
size and any number of objects give the detections that they give without a backend.
"""

from cutler_pl.models.backends.registry import BACKENDS, Backend, choose_backend

__all__ = ["BACKENDS", "Backend", "choose_backend"]
