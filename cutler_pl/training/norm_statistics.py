"""Running statistics of batch normalisations before a step, to put back where the step is dropped."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class NormStatistics:
    """A copy of the running statistics of a model, without host–device synchronisation."""

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
        buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        # one kernel for all buffers of a type
        self._groups = [
            [buffer for buffer in buffers if buffer.is_floating_point() is floating] for floating in (True, False)
        ]
        self._kept: list[list[Tensor]] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the statistics."""
        if not self._kept:
            self._kept = [[buffer.clone() for buffer in group] for group in self._groups]
            return
        self._copy(self._groups, self._kept)

    @torch.no_grad()
    def put_back(self) -> None:
        """Restore what was copied last."""
        self._copy(self._kept, self._groups)

    @staticmethod
    def _copy(source: list[list[Tensor]], target: list[list[Tensor]]) -> None:
        for from_, to in zip(source, target, strict=False):
            if to:
                torch._foreach_copy_(to, from_)
