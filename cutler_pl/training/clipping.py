"""Gradient clipping per parameter tensor, as detectron2's "norm" clipping does and Lightning's own does not.

Each gradient is scaled to a norm of at most `max_norm` by itself; a global norm would let one exploding layer slow
all the others. The unsupervised recipes use 1.0. Nothing here waits for the device.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_ has the same


@torch.no_grad()
def tensor_norms(gradients: Sequence[Tensor]) -> Float[Tensor, " tensors"]:
    """2-norm of each gradient, float32, on the device of the first one."""
    norms = torch._foreach_norm(list(gradients), 2.0)
    return torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms])


@torch.no_grad()
def clip_tensor_norms_(gradients: Sequence[Tensor], norms: Float[Tensor, " tensors"], *, max_norm: float) -> None:
    """Scale each gradient, in place, so that its 2-norm is at most `max_norm`; smaller ones stay as they are.

    Args:
        gradients: The gradients; true ones, that is without the factor of a loss scaler.
        norms: Their norms, from `tensor_norms`.
        max_norm: Largest norm of one tensor.
    """
    factors = (max_norm / (norms + _EPSILON)).clamp(max=1.0)
    torch._foreach_mul_(list(gradients), list(factors.unbind()))


def all_finite(norms: Float[Tensor, " tensors"]) -> Bool[Tensor, ""]:
    """Whether every gradient is finite, told from its norm; stays on the device."""
    return norms.isfinite().all()
