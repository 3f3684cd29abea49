"""Which predictions become annotations: those whose score reaches the threshold (section 3.4 of the paper)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from cutler_pl.coco.validation import InvalidRecords, is_finite_number, is_mapping, result_label
from cutler_pl.errors import ConfigError


def select(
    predictions: Iterable[Mapping[str, Any]], threshold: int | float, *, invalid: InvalidRecords | None = None
) -> list[Mapping[str, Any]]:
    """COCO results with at least the score `threshold`, in their order.

    Raises:
        AnnotationError: A prediction has no finite score, and the rule of `invalid` is to raise, as by default.
        ConfigError: The threshold is not a number.
    """
    return list(selected(predictions, threshold, invalid or InvalidRecords("the predictions", "raise")))


def selected(
    predictions: Iterable[Any], threshold: int | float, invalid: InvalidRecords
) -> Iterator[Mapping[str, Any]]:
    """As `select`, one after the other."""
    if not is_finite_number(threshold):
        raise ConfigError(f"the score threshold is {threshold!r}, not a number; the paper takes 0.7, then 0.65")
    for number, prediction in enumerate(predictions):
        score = prediction.get("score") if is_mapping(prediction) else None
        if not is_finite_number(score):
            invalid.add(f"{result_label(number, prediction)} has the score {score!r}, not a finite number")
        elif cast(float, score) >= threshold:
            yield prediction
