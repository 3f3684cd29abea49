"""The small networks on top of the pyramid: proposals, boxes of one stage, masks. Initialised as the original is."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

BOX_POOL_SIZE, MASK_POOL_SIZE = 7, 14
MASK_SIZE = 2 * MASK_POOL_SIZE


class RPNHead(nn.Module):
    """Objectness and box deltas of the anchors at each cell, shared by all levels.

    Args:
        channels: Channels of the pyramid.
        num_anchors: Anchors per cell.
    """

    def __init__(self, channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.objectness_logits = nn.Conv2d(channels, num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * 4, 1)
        for layer in (self.conv, self.objectness_logits, self.anchor_deltas):
            _init_normal(layer, 0.01)

    def forward(
        self, level: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch anchors"], Float[Tensor, "batch anchors 4"]]:
        """Float32 logits and deltas in the order of `grid_anchors`: rows, columns, anchors of a cell."""
        hidden = self.relu(self.conv(level))
        logits = self.objectness_logits(hidden).permute(0, 2, 3, 1).flatten(1)
        deltas = self.anchor_deltas(hidden).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        return logits.float(), deltas.float()


class BoxStage(nn.Module):
    """Two fully connected layers on the pooled features of a proposal, then its class and its box.

    Args:
        channels: Channels of the pyramid.
        dim: Width of the two layers.
        num_classes: Classes without the background, which comes last.
        num_boxes: 1 for one box for all classes, else the number of classes.
    """

    def __init__(self, channels: int, dim: int, num_classes: int, num_boxes: int) -> None:
        super().__init__()
        fc1, fc2 = nn.Linear(channels * BOX_POOL_SIZE**2, dim), nn.Linear(dim, dim)
        relu1, relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.head = nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc1=fc1, relu1=relu1, fc2=fc2, relu2=relu2))
        cls_score, bbox_pred = nn.Linear(dim, num_classes + 1), nn.Linear(dim, num_boxes * 4)
        self.predictor = nn.ModuleDict({"cls_score": cls_score, "bbox_pred": bbox_pred})
        for layer in (fc1, fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        _init_normal(cls_score, 0.01)
        _init_normal(bbox_pred, 0.001)

    def forward(
        self, pooled: Float[Tensor, "proposals channels cells cells"]
    ) -> tuple[Float[Tensor, "proposals classes"], Float[Tensor, "proposals columns"]]:
        """Float32 logits of classes and background, and deltas."""
        hidden = self.head(pooled)
        return self.predictor["cls_score"](hidden).float(), self.predictor["bbox_pred"](hidden).float()


class MaskHead(nn.Module):
    """Convolutions on the pooled features of a proposal, upsampled once, to one mask for each class.

    Args:
        in_channels: Channels of the pyramid.
        channels: Channels of the head.
        num_convs: Convolutions before the upsampling.
        num_classes: Masks per proposal.
    """

    def __init__(self, in_channels: int, channels: int, num_convs: int, num_classes: int) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * num_convs
        self.convs = nn.ModuleList(nn.Conv2d(before, channels, 3, padding=1) for before in widths[:-1])
        self.relu = nn.ReLU(inplace=True)
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, num_classes, 1)
        for layer in (*self.convs, self.deconv):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        _init_normal(self.predictor, 0.001)

    def forward(
        self, pooled: Float[Tensor, "proposals channels cells cells"]
    ) -> Float[Tensor, "proposals classes size size"]:
        """Logits of each class's mask, at twice the resolution."""
        hidden = pooled
        for conv in self.convs:
            hidden = self.relu(conv(hidden))
        logits: Tensor = self.predictor(self.relu(self.deconv(hidden)))
        return logits


def _init_normal(layer: nn.Linear | nn.Conv2d, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
