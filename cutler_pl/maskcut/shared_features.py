"""Features that several generators, or settings of one, take: computed once per image."""

import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class SharedFeatures:
    """An extractor that remembers the features of the image it saw last.

    Args:
        extractor: Computes the features.
        device: Where it lives.

    Attributes:
        seconds: That the features of the image took.
    """

    def __init__(self, extractor: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._extractor = extractor
        self._device = device
        self._features: Tensor | None = None
        self.seconds = 0.0

    def __call__(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """The features; those of the call before where `forget` was not called since."""
        if self._features is None:
            start = time.perf_counter()
            self._features = self._extractor(images)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.seconds = time.perf_counter() - start
        return self._features

    def forget(self) -> None:
        """Before another image."""
        self._features, self.seconds = None, 0.0
