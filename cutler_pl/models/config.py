"""Every choice about the detector in one place; the defaults are the recipe of the paper's unsupervised training."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from cutler_pl.errors import ConfigError
from cutler_pl.models.droploss import ClassificationWeights
from cutler_pl.models.sampler import Sampler
from cutler_pl.runtime.limits import CHANNELS, TEST_SIZE, Limit
from cutler_pl.runtime.ranges import Choice, Integer, ListOf, Number, Rule, Share, check, check_fields, rules_of

NORMS = ("bn", "gn", "frozen")
NUM_LEVELS = 5
SIZE_DIVISOR = 32


@dataclass(frozen=True)
class UpTo(Rule):
    """A whole number from 1 to a limit, or to its default where the limit is lowered."""

    limit: Limit

    @property
    def expected(self) -> str:
        """The range in words, with the option."""
        return f"an integer from 1 to {self._most()} ({self.limit.option} raises it)"

    def read(self, value: Any) -> int:
        """The number."""
        return Integer(1, self._most()).read(value)

    def _most(self) -> int:
        return max(self.limit.default, self.limit.value())


MAX_NUMBER = 65_536
Width = Annotated[int, UpTo(CHANNELS)]
"""Of a layer."""
Side = Annotated[int, UpTo(TEST_SIZE)]
Length = Annotated[int, Integer(1, MAX_NUMBER)]
"""Of a list."""
Color = Annotated[float, Number(min=0, max=255)]
Positive = Annotated[float, Number(above=0, max=MAX_NUMBER)]
_EACH_LEVEL = ListOf(Number(above=0, max=MAX_NUMBER), NUM_LEVELS, NUM_LEVELS, as_tuple=True)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Options of `build_detector`.

    The defaults make the three-stage cascade; `ARCHITECTURES` holds what a plain Mask R-CNN changes.
    """

    num_classes: Width = 1
    """Classes without the background; labels are 1 to num_classes."""
    backbone: str = "resnet50"
    """`resnet18|34|50|101` of torchvision, `timm/<name>` for any timm network with features of stride 4 to 32, or
    `resnet10_half`, timm's resnet10t with half its channels."""
    norm: Annotated[str, Choice(NORMS)] = "bn"
    """Normalisation of backbone and FPN: `bn` (SyncBN under Lightning's `sync_batchnorm`), `gn`, or `frozen`."""
    fpn_channels: Width = 256
    """Channels of every pyramid level."""
    anchor_sizes: Annotated[tuple[float, ...], _EACH_LEVEL] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Side in pixels of the square anchor of each level p2 to p6."""
    anchor_ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    """Height over width of the anchors of each place."""

    rpn_iou_thresholds: tuple[Share, Share] = (0.3, 0.7)
    """Anchors below the first are background, from the second on foreground, between them ignored."""
    rpn_batch_per_image: Length = 256
    """Anchors in the loss, for each image."""
    rpn_positive_fraction: Share = 0.5
    """Largest share of foreground among them."""
    rpn_nms_threshold: Share = 0.65
    """IoU above which the weaker of two proposals of a level goes; 0.7 in self-training and with labels."""
    rpn_pre_nms_train: Length = 2000
    """Proposals of each level that enter NMS in training."""
    rpn_pre_nms_test: Length = 1000
    """Proposals of each level that enter NMS in inference."""
    rpn_post_nms_train: Length = 4000
    """Proposals of an image that leave NMS in training; 1000 in self-training, 2000 with labels."""
    rpn_post_nms_test: Length = 1000
    """Proposals of an image that leave NMS in inference."""

    roi_batch_per_image: Length = 512
    """Proposals in the losses of the heads, for each image."""
    roi_positive_fraction: Share = 0.25
    """Largest share of foreground among them."""
    stage_ious: tuple[Share, ...] = (0.5, 0.6, 0.7)
    """IoU with the ground truth from which a proposal is foreground, for each stage."""
    stage_box_weights: tuple[tuple[Positive, Positive, Positive, Positive], ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )
    """Factors of the (x, y, width, height) deltas, for each stage."""
    class_agnostic_boxes: bool = True
    """One box regression for all classes; needed where there is more than one stage."""
    box_head_dim: Width = 1024
    """Width of the two fully connected layers."""
    mask_head_channels: Width = 256
    """Channels of the mask head."""
    mask_head_convs: Annotated[int, Integer(1, 64)] = 4
    """3×3 convolutions of the mask head before its upsampling."""
    classification_weights: ClassificationWeights | None = None
    """DropLoss, or another weighting of proposals in the classification loss; None weights all alike."""
    soft_targets: bool = False
    """Losses of boxes, classes and masks count each ground truth by its score (`Target`), see `models.losses`."""
    pixel_confidence: bool = False
    """The mask loss counts each pixel by its confidence (`Target`), see `models.losses`."""
    sampler: Sampler | None = None
    """Order in which anchors and proposals are sampled; None draws at random."""

    score_threshold: Share = 0.0
    """Detections must score above it; 0.05 with labels."""
    nms_threshold: Share = 0.5
    """IoU above which the weaker of two detections of a class goes."""
    max_detections: Length = 100
    """Most detections of an image; 300 for LVIS, 30 when predicting for self-training."""
    min_size_test: Side = 800
    """Shortest side images are resized to in inference."""
    max_size_test: Side = 1333
    """Cap of the longest side then."""
    pixel_mean: tuple[Color, Color, Color] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue taken off the pixels."""
    pixel_std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)
    """Deviation of red, green and blue the pixels are divided by."""
    channels_last: bool = True
    """Hand the images to the convolutions in the channels-last memory layout, which is faster (docs/BENCHMARKS.md)."""
    compile_backbone: bool = False
    """Compile backbone and FPN with `torch.compile`."""

    def __post_init__(self) -> None:
        """Check each value and how they go together; a ConfigError names what cannot work."""
        check_fields(self)
        if self.rpn_iou_thresholds[0] > self.rpn_iou_thresholds[1]:
            raise ConfigError(f"rpn_iou_thresholds={list(self.rpn_iou_thresholds)}: the first is larger; swap them")
        if len(self.stage_ious) != len(self.stage_box_weights):
            raise ConfigError(
                f"stage_ious and stage_box_weights describe the same stages, found {len(self.stage_ious)} IoUs and "
                f"{len(self.stage_box_weights)} weights"
            )
        if len(self.stage_ious) > 1 and not self.class_agnostic_boxes:
            raise ConfigError("class_agnostic_boxes must be true in a cascade: a stage passes on one box per proposal")


_SINGLE_STAGE: dict[str, Any] = {
    "stage_ious": (0.5,),
    "stage_box_weights": ((10.0, 10.0, 5.0, 5.0),),
    "class_agnostic_boxes": False,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {"cascade_mask_rcnn_r50_fpn": {}, "mask_rcnn_r50_fpn": _SINGLE_STAGE}


TEST_OPTIONS = frozenset({
    "rpn_nms_threshold", "rpn_pre_nms_test", "rpn_post_nms_test", "score_threshold", "nms_threshold", "max_detections",
    "min_size_test", "max_size_test", "channels_last", "compile_backbone",
})  # fmt: skip
"""Options of inference, which may differ from those of the training."""
TRAIN_OPTIONS = frozenset({
    "rpn_iou_thresholds", "rpn_batch_per_image", "rpn_positive_fraction", "rpn_pre_nms_train", "rpn_post_nms_train",
    "roi_batch_per_image", "roi_positive_fraction", "classification_weights", "soft_targets", "pixel_confidence",
    "sampler",
})  # fmt: skip
"""Options of the losses and their samples alone; all others are what the weights were trained with."""


_RENAMED = {"test_size": "min_size_test", "test_max_size": "max_size_test", "detections_per_image": "max_detections"}
"""Names of options in checkpoints of version 0.1 until 2026-11, and today's."""


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as an older checkpoint may name them, under today's names."""
    return {_RENAMED.get(name, name): value for name, value in options.items()}


def make_config(name: str, /, **options: Any) -> DetectorConfig:
    """The options of an architecture, with some of them replaced.

    Args:
        name: A key of `ARCHITECTURES`.
        **options: Fields of `DetectorConfig`; lists and whole numbers are taken for tuples and floats.

    Raises:
        ConfigError: The architecture or an option does not exist, or a value cannot work.
    """
    _check_choice("detector name", name, tuple(ARCHITECTURES))
    known = fields(DetectorConfig)
    for option in options:
        if option in _RENAMED:
            raise ConfigError(f"detector option {option!r} is now called {_RENAMED[option]!r}")
        _check_choice("detector option", option, tuple(field.name for field in known))
    rules = rules_of(DetectorConfig)
    given = {option: check(option, value, rules[option]) for option, value in options.items() if option in rules}
    return replace(DetectorConfig(**ARCHITECTURES[name]), **(options | given))


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{what} {value!r} does not exist; choose one of {', '.join(choices)}")
