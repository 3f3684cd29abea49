"""Gradient clipping per parameter tensor, as detectron2's "norm" clipping does; Lightning's own clips a global norm.

No host–device synchronisation.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_ has the same


@torch.no_grad()
def tensor_norms(gradients: Sequence[Tensor]) -> Float[Tensor, " tensors"]:
    """2-norm of each gradient, float32, on the device of the first one."""
    norms = torch._foreach_norm(list(gradients), 2.0)
    return torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms])


@torch.no_grad()
def clip_tensor_norms_(gradients: Sequence[Tensor], norms: Float[Tensor, " tensors"], *, max_norm: float) -> None:
    """Scale each gradient (unscaled, with its norm from `tensor_norms`) in place to a 2-norm of at most `max_norm`."""
    factors = (max_norm / (norms + _EPSILON)).clamp(max=1.0)
    torch._foreach_mul_(list(gradients), list(factors.unbind()))
