"""Backbone and feature pyramid: five maps of equal channels at strides 4, 8, 16, 32 and 64.

ResNet and FPN are torchvision's. The ResNet has its stride in the 3×3 convolution, as the DINO weights need; the FPN
has normalised, bias-free convolutions and takes its last level by picking every second cell of the one before.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from cutler_pl.errors import ConfigError
from cutler_pl.models.fold import can_fold, fold_batch_norms

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
STRIDES = (4, 8, 16, 32, 64)
_BODY_STRIDES = STRIDES[:4]
_TIMM = "timm/"
NARROW = "resnet10_half"
_NARROW_CHANNELS = [32, 64, 128, 256]

NormLayer = Callable[[int], nn.Module]
NORM_LAYERS: dict[str, NormLayer] = {"bn": nn.BatchNorm2d, "gn": partial(nn.GroupNorm, 32), "frozen": FrozenBatchNorm2d}


class ResNetBody(nn.Module):
    """torchvision's ResNet without its classifier, under the same names.

    Args:
        name: One of `RESNETS`.
        norm_layer: Makes the normalisation of so many channels.
    """

    def __init__(self, name: str, norm_layer: NormLayer) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(name, weights=None, norm_layer=norm_layer)
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        widest = resnet.fc.in_features
        self.channels = [widest // 8, widest // 4, widest // 2, widest]

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Maps at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


class BackboneWithFPN(nn.Module):
    """A network with maps at strides 4 to 32, and the feature pyramid on them.

    Args:
        body: Gives the four maps; its `channels` say how wide they are.
        channels: Width of the pyramid.
        norm_layer: Makes the normalisation in the pyramid.
    """

    def __init__(self, body: nn.Module, body_channels: list[int], channels: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(body_channels, channels, LastLevelMaxPool(), norm_layer)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The pyramid p2 to p6."""
        body, fpn = self.body, self.fpn
        if can_fold(self, pixels):
            body = fold_batch_norms(body) if isinstance(body, ResNetBody) else body
            fpn = fold_batch_norms(fpn)
        maps = body(pixels)
        pyramid: dict[str, Tensor] = fpn({f"p{2 + i}": x for i, x in enumerate(maps)})
        return list(pyramid.values())


def build_backbone(name: str, *, channels: int, norm: str) -> BackboneWithFPN:
    """Backbone with randomly initialised weights.

    Args:
        name: One of `RESNETS`, `timm/` and the name of a timm network, or `resnet10_half`, timm's resnet10t with half
            its channels.
        channels: Width of the pyramid.
        norm: `bn`, `gn` or `frozen`; a timm network keeps its own normalisation unless frozen is asked for.

    Raises:
        ConfigError: There is no such network, it cannot have this normalisation, or it lacks maps of stride 4 to 32.
    """
    norm_layer = NORM_LAYERS[norm]
    if norm == "gn" and channels % 32:
        raise ConfigError(f"norm=gn has 32 groups, so fpn_channels must be a multiple of 32, found {channels}")
    if name.startswith(_TIMM):
        body, body_channels = _timm_body(name, norm)
    elif name == NARROW:
        body, body_channels = _narrow_body(norm), _NARROW_CHANNELS
    elif name in RESNETS:
        body = ResNetBody(name, norm_layer)
        body_channels = body.channels
    else:
        known = ", ".join((*RESNETS, NARROW))
        raise ConfigError(f"backbone={name:.80}: no such network; choose one of {known} or timm/<name>")
    return BackboneWithFPN(body, body_channels, channels, norm_layer)


def _narrow_body(norm: str) -> nn.Module:
    _check_norm(NARROW, norm)
    body: nn.Module = timm.create_model(
        "resnet10t", features_only=True, out_indices=(1, 2, 3, 4), channels=_NARROW_CHANNELS, stem_width=16
    )
    return body


def _check_norm(name: str, norm: str) -> None:
    if norm == "frozen":
        raise ConfigError(f"norm=frozen works with {', '.join(RESNETS)}; {name} keeps its own normalisation")


def _timm_body(name: str, norm: str) -> tuple[nn.Module, list[int]]:
    _check_norm(name, norm)
    if not re.fullmatch(r"timm/[\w.]+", name):  # timm itself also takes addresses
        raise ConfigError(f"backbone={name:.80}: this is no name of timm's; give timm/<name>")
    try:
        info: Any = timm.create_model(name.removeprefix(_TIMM), features_only=True).feature_info
        wanted = [info.reduction().index(stride) for stride in _BODY_STRIDES]
        body = timm.create_model(name.removeprefix(_TIMM), features_only=True, out_indices=tuple(wanted))
    except (RuntimeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"backbone={name:.80}: gives no feature maps of stride 4, 8, 16 and 32 ({error}); choose another network"
        ) from error
    return body, [info.channels()[i] for i in wanted]
