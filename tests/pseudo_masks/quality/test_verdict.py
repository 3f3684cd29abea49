"""The verdict's rule and its advice."""

from dataclasses import replace

import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.pseudo_masks.quality.agreement import Agreement
from cutler_pl.pseudo_masks.quality.images import ImageFigures
from cutler_pl.pseudo_masks.quality.masks import MaskFigures, Spread
from cutler_pl.pseudo_masks.quality.options import QualityThresholds
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, Sign, judge, other_tau

GOOD = MaskFigures(
    images=10,
    masks=20,
    boxes_only=0,
    without_mask=0,
    names_without_mask=[],
    images_by_masks={1: 3, 2: 4, 3: 3},
    border_share=0.4,
    two_sides_share=0.2,
    small_share=0.0,
    area=Spread(0.05, 0.1, 0.2),
    covered=0.3,
    fragments=1.1,
    fill=0.7,
    score=Spread(0.5, 0.75, 0.9),
    score_by_position=[0.8, 0.7, 0.6],
    ncut_value=None,
)
IMAGES = ImageFigures(opened=10, unreadable={}, without_record=[], near_duplicates=[], longer_side=500)
LIMITS = QualityThresholds()
SETTINGS = RunSettings(num_masks=3, tau=0.8, features="dino_vits16")


def advice(masks: MaskFigures, images: ImageFigures = IMAGES, agreement: Agreement | None = None) -> str:
    return " ".join(judge(masks, images, agreement, LIMITS, SETTINGS).advice)


def agreement(share: float) -> Agreement:
    return Agreement(setting="maskcut.tau=0.85", images=9, mean_iou=share, matched_share=share)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "works"),
        ({"border_share": LIMITS.border}, "works"),  # on the threshold is not beyond it
        ({"border_share": 0.85}, "doubtful"),
        ({"border_share": 1.0}, "doubtful"),
        ({"border_share": 0.85, "fragments": 1.5}, "doubtful"),
        ({"border_share": 0.85, "fragments": 1.5, "fill": 0.55}, "outside"),
        ({"border_share": 1.0, "fragments": 1.5}, "outside"),
        ({"without_mask": 4, "fill": 0.3}, "outside"),
        ({"masks": 0, "border_share": None, "fragments": None, "fill": None, "score": None}, "outside"),
    ],
)
def test_sum_of_signs_decides(changes: dict[str, object], verdict: str) -> None:
    masks = replace(GOOD, **changes)  # type: ignore[arg-type]
    assert judge(masks, IMAGES, None, LIMITS, SETTINGS).verdict == verdict


def test_scores_of_other_features_are_not_judged() -> None:
    low = replace(GOOD, score=Spread(0.1, 0.55, 0.6))
    assert judge(low, IMAGES, None, LIMITS, RunSettings(features="patch_descriptors")).verdict == "doubtful"
    assert judge(low, IMAGES, None, LIMITS, SETTINGS).verdict == "works"
    assert judge(low, IMAGES, None, LIMITS).verdict == "works"


def test_agreement_is_a_sign() -> None:
    assert judge(GOOD, IMAGES, agreement(0.7), LIMITS).verdict == "works"
    found = judge(GOOD, IMAGES, agreement(0.5), LIMITS)
    assert found.verdict == "doubtful"
    assert found.sentence.endswith("but the share of masks found again is 0.50 (below 0.6).")


@pytest.mark.parametrize(
    ("value", "higher_is_worse", "level"),
    [(0.5, True, "fine"), (1.5, True, "doubt"), (2.5, True, "outside"), (None, True, "not measured"),
     (2.5, False, "fine"), (1.5, False, "doubt"), (0.5, False, "outside")],
)  # fmt: skip
def test_level_of_a_sign(value: float | None, higher_is_worse: bool, level: str) -> None:
    doubt, outside = (1.0, 2.0) if higher_is_worse else (2.0, 1.0)
    assert Sign("figure", value, doubt, outside, higher_is_worse).level == level


def test_advise_more_objects() -> None:
    assert "60% of the images have 3 masks" in advice(replace(GOOD, images_by_masks={2: 4, 3: 6}))
    assert "maskcut.num_masks=6" in advice(replace(GOOD, images_by_masks={2: 4, 3: 6}))
    assert "num_masks" not in advice(GOOD)


def test_advise_fewer_objects() -> None:
    assert "Fewer objects: try `maskcut.num_masks=2`" in advice(replace(GOOD, small_share=0.4))
    assert "Fewer objects" in advice(replace(GOOD, score_by_position=[0.8, 0.3]))


def test_advise_another_tau() -> None:
    assert "now 0.8; try 0.85" in advice(replace(GOOD, without_mask=2))
    assert "now 0.8; try 0.85" in advice(GOOD, agreement=agreement(0.5))


def test_advise_splitting_and_tiles() -> None:
    text = advice(replace(GOOD, fragments=1.5), replace(IMAGES, longer_side=4000))
    assert "annotation.split=watershed" in text
    assert "annotation.split_parts=true" in text
    assert "tile=1024" in text
    done = replace(SETTINGS, split="watershed", split_parts=True, tile=1024)
    found = judge(replace(GOOD, fragments=1.5), replace(IMAGES, longer_side=4000), None, LIMITS, done)
    assert found.advice == []


def test_advise_on_files() -> None:
    images = replace(IMAGES, unreadable={"a.png": "broken"}, near_duplicates=[["b.png", "c.png", "d.png"]])
    assert "the 1 unreadable image." in advice(GOOD, images)
    assert "2 images look like another one" in advice(GOOD, images)


def test_outside_names_the_limits_of_the_method() -> None:
    found = judge(replace(GOOD, border_share=1.0, fill=0.3), IMAGES, None, LIMITS, SETTINGS)
    assert found.sentence.startswith("These images are outside what MaskCut with dino_vits16 can do")
    assert "6.5 % of its masks are right (CUPS)" in found.advice[0]
    assert "AP50 below 1 %" in found.advice[0]
    assert "few_shot" in found.advice[0]


def test_advise_learned_features() -> None:
    descriptors = replace(SETTINGS, features="patch_descriptors")
    assert "dino_vits16" in " ".join(judge(replace(GOOD, fill=0.3), IMAGES, None, LIMITS, descriptors).advice)


def test_other_tau_is_near() -> None:
    assert (other_tau(0.15), other_tau(0.8)) == (0.1875, 0.85)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"border": 0.9, "border_outside": 0.8}, "thresholds.border_outside=0.8 is below thresholds.border=0.9"),
        ({"fill": 0.4}, "thresholds.fill_outside=0.5 is above thresholds.fill=0.4"),
        ({"outside_from": 1, "doubtful_from": 2}, "thresholds.outside_from=1 is below thresholds.doubtful_from=2"),
        ({"score": 1.5}, "thresholds.score=1.5"),
    ],
)
def test_refuse_thresholds_in_wrong_order(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")):
        QualityThresholds(**values)  # type: ignore[arg-type]


def test_scores_of_other_generators_are_not_judged() -> None:
    """They lie elsewhere; MaskCut's with the same features are."""
    low = replace(GOOD, score=Spread(0.1, 0.2, 0.3), without_mask=4)
    ours = RunSettings(features="patch_descriptors")
    maskcut, promerge = (judge(low, IMAGES, None, LIMITS, one) for one in (ours, replace(ours, generator="promerge")))
    assert "median score" in maskcut.sentence
    assert "median score" not in promerge.sentence
    assert any("cutler calibrate generator=promerge" in text for text in promerge.advice)
    assert not any("maskcut.tau" in text or "maskcut.num_masks" in text for text in promerge.advice)
