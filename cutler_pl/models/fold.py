"""Batch norms folded into the convolutions before them, for inference: the same values up to rounding, less work."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

_FOLDABLE = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy without the batch norms that directly follow a convolution among a module's children.

    Nothing of the module itself changes: the copy shares its other layers and parameters, and has new weights where it
    is folded. Children must be called in the order they are listed, as in torchvision's ResNets and FPN.

    Args:
        module: In eval mode.
    """
    folded = copy.copy(module)
    folded._modules = dict(module._modules)
    last_name = ""
    for name, child in module.named_children():
        last = module._modules.get(last_name)
        if type(child) in _FOLDABLE and isinstance(last, nn.Conv2d):
            folded._modules[last_name] = _fold(last, child)
            folded._modules[name] = nn.Identity()
        else:
            folded._modules[name] = fold_batch_norms(child)
        last_name = name
    return folded


def _fold(conv: nn.Conv2d, norm: Any) -> nn.Conv2d:
    folded = copy.copy(conv)
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
    folded._parameters = {"weight": weight, "bias": bias}
    return folded


def can_fold(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether folding changes rounding alone and pays: on the CPU, without gradients and without a graph."""
    return not (
        module.training
        or torch.is_grad_enabled()
        or x.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch.compiler.is_exporting()
    )
