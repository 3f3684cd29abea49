"""SGD with detectron2's learning rates and weight decays per parameter.

`lr` is the rate of a certain number of images per step; `scale` says what becomes of it in a run with another number.
Normalisation layers do not decay. The last layers of the heads may learn `head_lr_multiplier` times as fast: in the
semi-supervised recipes those layers are newly initialised while the rest is pre-trained.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from torch import nn

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Count, Number, check_arguments

log = get_logger(__name__)

# The layers of `head_lr_multiplier`: the mask predictor, and each box predictor's two layers.
HEAD_LAYER = re.compile(r"(.*\.)?roi_heads\.(.*\.)?(cls_score|bbox_pred|mask_head\.predictor)")

Scale = Literal["linear", "none"]
Decay = Annotated[float, Number(min=0, max=1000)]
Positive = Annotated[float, Number(above=0, max=1_000_000)]

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm)


@check_arguments("optimizer.")
def sgd(
    model: nn.Module,
    *,
    lr: Annotated[float, Number(above=0, max=1000)],
    weight_decay: Decay,
    scale: Scale = "none",
    lr_batch_size: Count = 16,
    batch_size: Count | None = None,
    momentum: Annotated[float, Number(min=0, below=1)] = 0.9,
    nesterov: bool = False,
    norm_weight_decay: Decay = 0.0,
    head_lr_multiplier: Positive = 1.0,
    per_param_clip_norm: Positive | None = None,
) -> torch.optim.SGD:
    """Build SGD over the trainable parameters of a detector.

    Args:
        lr: Base learning rate, for `lr_batch_size` images per step.
        weight_decay: Decay of weights and biases outside normalisation layers.
        scale: `linear` multiplies `lr` by `batch_size / lr_batch_size` (Goyal et al. 2017); `none` leaves it.
        lr_batch_size: Images per step that `lr` is for.
        batch_size: Images per step, over all ranks and accumulated batches; None: as `lr_batch_size`.
        norm_weight_decay: Decay of the parameters of normalisation layers.
        head_lr_multiplier: Factor on `lr` for the layers that match `HEAD_LAYER`.
        per_param_clip_norm: Largest gradient norm of one tensor, stored in the groups; None for no clipping.

    Returns:
        Optimizer whose groups of equal learning rate and decay are in order of appearance; it knows the parameters'
        names, so that a resumed training finds their momentum.

    Raises:
        ConfigError: `head_lr_multiplier` is not 1 and no layer matches `HEAD_LAYER`.
    """
    given, images = lr, batch_size or lr_batch_size
    lr = scaled_lr(given, scale=scale, lr_batch_size=lr_batch_size, batch_size=images)
    line = f"learning rate {lr:g} with optimizer.scale={scale}: {given:g} is for {lr_batch_size} images per step"
    if images != lr_batch_size:
        line += f", this run has {images}"
        line += "" if scale == "linear" else f"; optimizer.scale=linear gives {given * images / lr_batch_size:g}"
    log.info("%s", line)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    found_head = False
    for module_name, module, parameter_name, parameter in _trainable(model):
        in_head = HEAD_LAYER.fullmatch(module_name) is not None
        found_head |= in_head
        rate = lr * head_lr_multiplier if in_head else lr
        decay = norm_weight_decay if isinstance(module, _NORMALISATION) else weight_decay
        group = {"params": [], "lr": rate, "weight_decay": decay, "per_param_clip_norm": per_param_clip_norm}
        groups.setdefault((rate, decay), group)["params"].append((parameter_name, parameter))
    if head_lr_multiplier != 1.0 and not found_head:
        raise ConfigError(
            f"optimizer.head_lr_multiplier={head_lr_multiplier} needs layers named cls_score, bbox_pred or "
            f"mask_head.predictor under roi_heads, and {type(model).__name__} has none: set it to 1"
        )
    return torch.optim.SGD(groups.values(), lr=lr, momentum=momentum, nesterov=nesterov)


def scaled_lr(lr: float, *, scale: Scale, lr_batch_size: int, batch_size: int) -> float:
    """The learning rate of a run with `batch_size` images per step; arguments as for `sgd`."""
    return lr * batch_size / lr_batch_size if scale == "linear" else lr


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=module_name, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module_name, module, name, parameter
