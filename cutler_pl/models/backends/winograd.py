"""PyTorch with the 3×3 convolutions of a detector by Winograd's algorithm: a quarter of their multiplications."""

from dataclasses import dataclass
from pathlib import Path

import torch

from cutler_pl.errors import ConfigError
from cutler_pl.models.backbone import ResNetBody
from cutler_pl.models.detector import Detector
from cutler_pl.models.fold import fold_batch_norms
from cutler_pl.ops.winograd import WinogradConv2d, fits

_LEAST_CHANNELS = 64  # below, the sums of the transforms take longer than the products they save


@dataclass(frozen=True)
class WinogradBackend:
    """Batch norms folded into the convolutions before them, 3×3 convolutions of stride 1 replaced; needs no package."""

    def check(self, device: torch.device) -> None:
        """See `Backend`."""
        if device.type != "cpu":
            raise ConfigError(
                f"backend=winograd runs on a CPU and the device is {device}; take device=cpu, or backend=torch"
            )

    def install(self, detector: Detector, *, exported: str | Path | None = None) -> None:
        """See `Backend`."""
        if exported is not None:
            raise ConfigError(f"exported={exported}: backend=winograd reads no exported networks; leave it out")
        backbone = detector.backbone
        if isinstance(backbone.body, ResNetBody):
            backbone.body = fold_batch_norms(backbone.body)
        backbone.fpn = fold_batch_norms(backbone.fpn)
        for name, module in list(detector.named_modules()):
            if fits(module) and min(module.in_channels, module.out_channels) >= _LEAST_CHANNELS:
                detector.set_submodule(name, WinogradConv2d(module))
