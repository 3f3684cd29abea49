"""Which value of τ is taken, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutler_pl.pseudo_masks.calibration.criteria import Jackknife
from cutler_pl.pseudo_masks.calibration.values import Search

_SURE = 2.0
"""Standard errors from which on a difference counts."""


@dataclass(frozen=True)
class Choice:
    """The chosen value.

    Attributes:
        value: As in `Search.values`.
        is_sure: Whether it is better than the present value by more than its spread over images allows to doubt.
        sentences: What is said of it.
    """

    value: float
    is_sure: bool
    sentences: Sequence[str]


def choose(search: Search, measured: Jackknife) -> Choice:
    """The best value, or the present one where the criterion cannot tell them apart."""
    values, setting = search.values, search.setting
    order = np.argsort(-measured.values, kind="stable")
    best, present = int(order[0]), values.index(search.present)
    if measured.values[best] == measured.values[present]:
        best = present
    following = next(int(number) for number in order if number != best)
    text = {number: f"{setting}={search.text(values[number])}" for number in (best, present, following)}
    margin, margin_error = measured.difference(best, following)
    sentences = [f"best: {text[best]}; next: {text[following]}, {margin:.2f} less, standard error {margin_error:.2f}"]
    gain, error = measured.difference(best, present)
    is_sure = best != present and gain > _SURE * error
    if best == present:
        sentences.append(f"the present value {text[present]} stays")
    elif is_sure:
        sentences.append(f"{text[best]} is taken: {gain:.2f} above {text[present]}, standard error {error:.2f}")
    else:
        sentences.append(
            f"the images cannot tell {text[best]} from {text[present]}: {gain:.2f} above it, standard error "
            f"{error:.2f}; the present value stays"
        )
    if is_sure and best in (0, len(values) - 1):
        sentences.append(f"{text[best]} is the last value tried; repeat with values= further out")
    return Choice(values[best] if is_sure else search.present, is_sure, sentences)
