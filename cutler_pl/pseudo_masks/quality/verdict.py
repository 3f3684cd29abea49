"""One verdict from several figures, each with a threshold for doubt and one for images outside the method; advice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cutler_pl.pseudo_masks.quality.agreement import Agreement
from cutler_pl.pseudo_masks.quality.images import ImageFigures
from cutler_pl.pseudo_masks.quality.masks import MaskFigures
from cutler_pl.pseudo_masks.quality.options import QualityThresholds

VerdictName = Literal["works", "doubtful", "outside"]
Level = Literal["fine", "doubt", "outside", "not measured"]

_POINTS: dict[Level, int] = {"fine": 0, "not measured": 0, "doubt": 1, "outside": 2}
_TILE = 1024
SCORE = "median score"
SCORES_OF = "patch_descriptors"
"""Features with which MaskCut's scores are judged: those of others, and of other generators, lie elsewhere."""
_LIMIT = (
    "Images like these may be outside what the method can do: MaskCut is made for images with a few large objects; on "
    "street scenes 6.5 % of its masks are right (CUPS), in forests methods of this kind score AP50 below 1 %"
)


@dataclass(frozen=True)
class Sign:
    """A figure beside its thresholds.

    Attributes:
        figure: What is measured.
        value: None where it is not measured.
        doubt, outside: The thresholds.
        higher_is_worse: Whether values above the thresholds are bad, else those below.
    """

    figure: str
    value: float | None
    doubt: float
    outside: float
    higher_is_worse: bool

    @property
    def level(self) -> Level:
        """Which threshold the value is beyond."""
        if self.value is None:
            return "not measured"
        sign = 1 if self.higher_is_worse else -1
        if sign * self.value > sign * self.outside:
            return "outside"
        return "doubt" if sign * self.value > sign * self.doubt else "fine"


@dataclass(frozen=True)
class RunSettings:
    """What is known of the run that made the masks; None where it is not.

    Attributes:
        num_masks: Rounds of cutting.
        tau: Its τ.
        features: Name of its features.
        generator: Which one found the masks; None for MaskCut.
        tile: Side of its tiles.
        split, split_parts: How its masks were split.
    """

    num_masks: int | None = None
    tau: float | None = None
    features: str | None = None
    generator: str | None = None
    tile: int | None = None
    split: str | None = None
    split_parts: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict, one sentence of why, sentences of advice, and the signs it rests on."""

    verdict: VerdictName
    sentence: str
    advice: Sequence[str]
    signs: Sequence[Sign]


@dataclass(frozen=True)
class _Case:
    """What advice rests on."""

    verdict: VerdictName
    masks: MaskFigures
    images: ImageFigures
    agreement: Agreement | None
    limits: QualityThresholds
    settings: RunSettings


def judge(
    masks: MaskFigures,
    images: ImageFigures,
    agreement: Agreement | None,
    thresholds: QualityThresholds,
    settings: RunSettings | None = None,
) -> Verdict:
    """Count 1 for each figure beyond its first threshold, 2 beyond its second, and judge by the sum."""
    settings = settings or RunSettings()
    signs = list(_signs(masks, agreement, thresholds, settings))
    points = sum(_POINTS[sign.level] for sign in signs)
    name: VerdictName = "works"
    if not masks.masks or points >= thresholds.outside_from:
        name = "outside"
    elif points >= thresholds.doubtful_from:
        name = "doubtful"
    with_mask = masks.images - masks.without_mask
    counts = f"{with_mask} of {masks.images} images have a mask, {masks.masks / masks.images:.1f} per image on average"
    reasons = ", ".join(_reason(sign) for sign in signs if _POINTS[sign.level])
    finder = settings.generator or "MaskCut"
    means = f"{finder} with {settings.features}" if settings.features else finder
    sentence = {
        "works": f"{finder} works here: {counts}, and {f'only {reasons}' if reasons else 'no figure is against them'}.",
        "doubtful": f"Doubtful: {counts}, but {reasons}.",
        "outside": f"These images are outside what {means} can do: {counts}; {reasons or 'the only figure there is'}.",
    }[name]
    advice = list(_advice(_Case(name, masks, images, agreement, thresholds, settings)))
    return Verdict(name, sentence, advice, signs)


def _signs(
    masks: MaskFigures, agreement: Agreement | None, limits: QualityThresholds, settings: RunSettings
) -> Iterator[Sign]:
    score = masks.score if settings.features == SCORES_OF and settings.generator is None else None
    values: dict[str, tuple[str, float | None, bool]] = {
        "without_mask": ("share of images without a mask", masks.without_mask / masks.images, True),
        "border": ("share of masks that touch the border", masks.border_share, True),
        "fragments": ("runs of pixels per column of a mask", masks.fragments, True),
        "fill": ("share of its box that a mask fills", masks.fill, False),
        "score": (SCORE, score.median if score else None, False),
        "agreement": ("share of masks found again", agreement.matched_share if agreement else None, False),
    }
    for name, (figure, value, higher_is_worse) in values.items():
        yield Sign(figure, value, getattr(limits, name), getattr(limits, f"{name}_outside"), higher_is_worse)


def _reason(sign: Sign) -> str:
    limit = sign.outside if sign.level == "outside" else sign.doubt
    return f"the {sign.figure} is {sign.value:.2f} ({'above' if sign.higher_is_worse else 'below'} {limit:g})"


def _advice(case: _Case) -> Iterator[str]:
    verdict, images, settings = case.verdict, case.images, case.settings
    if images.unreadable:
        count = len(images.unreadable)
        yield f"Repair or remove the {count} unreadable {'image' if count == 1 else 'images'}."
    if images.near_duplicates:
        extra = sum(len(group) - 1 for group in images.near_duplicates)
        yield f"{extra} images look like another one: keep one of each group, they add cost and no variety."
    if verdict != "works" and settings.features == "patch_descriptors":
        yield (
            "The masks come from `patch_descriptors`, which groups color and texture; repeat with "
            "`maskcut=dino_vits16` before giving up."
        )
    if verdict == "outside":
        yield f"{_LIMIT}. Label some images by hand and train with `experiment=few_shot` instead."
    if case.masks.masks:
        yield from _advice_on_masks(case)


def _advice_on_masks(case: _Case) -> Iterator[str]:
    masks, agreement, limits, settings = case.masks, case.agreement, case.limits, case.settings
    most = settings.num_masks or max(masks.images_by_masks)
    full = sum(count for number, count in masks.images_by_masks.items() if number >= most) / masks.images
    weak_last = len(masks.score_by_position) > 1 and masks.score_by_position[-1] < masks.score_by_position[0] / 2
    assert masks.small_share is not None
    assert masks.fragments is not None
    if masks.small_share > 0.3 or weak_last:
        rounds = "" if settings.generator else f"`maskcut.num_masks={max(1, most - 1)}` or "
        yield f"Fewer objects: try {rounds}`annotation.min_area=0.01`."
    elif full > 0.5 and case.verdict != "outside" and settings.generator is None:
        yield f"{full:.0%} of the images have {most} masks, the most possible: try `maskcut.num_masks={2 * most}`."
    without = masks.without_mask / masks.images > limits.without_mask
    moves = agreement is not None and agreement.matched_share < limits.agreement
    if without or moves:
        why = "The masks depend on τ" if moves else "Many images have no mask"
        tau = "" if settings.tau is None else f" (now {settings.tau:g}; try {other_tau(settings.tau):g})"
        if settings.generator is None:
            yield f"{why}: try another `maskcut.tau`{tau} and compare the reports."
        else:
            yield f"{why}: try other values of τ by `cutler calibrate generator={settings.generator}`."
    if masks.fragments > limits.fragments and not settings.split_parts:
        yield "Masks of several pieces: `annotation.split_parts=true` makes each piece an object."
    if masks.fragments > limits.fragments and settings.split != "watershed":
        yield "Touching objects of one kind: `annotation.split=watershed` splits neighbours where features agree."
    if case.images.longer_side > 1.25 * _TILE and settings.tile is None:
        yield (
            f"The images are {case.images.longer_side} pixels long and the features see them much smaller: cut them "
            f"into tiles by `tile={_TILE}`."
        )


def other_tau(tau: float) -> float:
    """A τ near another one, by a quarter of the way to the nearer end of 0..1."""
    return round(tau + min(tau, 1 - tau) / 4, 4)
