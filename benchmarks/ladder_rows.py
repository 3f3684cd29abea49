"""The rows of the ladder: generators of masks, options of their masks, detectors, and what is compared with what."""

from dataclasses import dataclass

from ladder_report import Comparison


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        masks: Settings of `cutler maskcut`.
        training: Settings of the training over those of `experiment=quickstart`.
        round: Settings of a self-training round on disk; None without one.
        continued: Settings of a training that goes on from the first one's weights, on the same masks; None without.
        evaluation: Settings of `cutler evaluate`.
    """

    masks: tuple[str, ...]
    training: tuple[str, ...] = ()
    round: tuple[str, ...] | None = None
    continued: tuple[str, ...] | None = None
    evaluation: tuple[str, ...] = ()


GENERATORS: dict[str, tuple[str, ...]] = {
    "maskcut": (),
    "maskcut_adaptive": ("maskcut.stop=adaptive",),
    "maskcut_tuned": ("maskcut.tau=0.9", "maskcut.num_masks=5", "maskcut.corner_rule=invariant"),
    "votecut": ("generator=votecut",),
    "promerge": ("generator=promerge",),
    "uniap": ("generator=uniap",),
    "hassod": ("generator=hassod",),
}
"""Settings of `cutler maskcut`, measured on everything."""

ON_MIDDLE: dict[str, tuple[str, ...]] = {
    "promerge_guided": ("generator=promerge", "crf.backend=guided"),
    "promerge_unrefined": ("generator=promerge", "crf.backend=none"),
    "promerge_watershed": ("generator=promerge", "annotation.split=watershed"),
    "promerge_parts": ("generator=promerge", "annotation.split_parts=true"),
}
"""Options of one generator's masks, measured on the middle scenes."""

SPEED = {row: GENERATORS[row] for row in ("maskcut", "votecut", "promerge", "uniap", "hassod")}

_UNIAP = GENERATORS["uniap"]
ARMS: dict[str, Arm] = {
    **{row: Arm(GENERATORS[row]) for row in ("uniap", "promerge", "maskcut_adaptive")},
    "uniap_soft_droploss": Arm(_UNIAP, ("model/loss=soft_droploss",)),
    "uniap_plain": Arm(_UNIAP, ("model/loss=plain",)),
    "uniap_soft": Arm(_UNIAP, ("model/loss=soft",)),
    **{row: Arm(GENERATORS[row]) for row in ("hassod", "maskcut_tuned", "votecut", "maskcut")},
    "uniap_round": Arm(_UNIAP, round=()),
}
"""Detectors, in the order in which they are trained; DropLoss is the quickstart's."""

_OTHERS = ("maskcut", "maskcut_tuned", "votecut", "promerge", "uniap", "hassod")
COMPARISONS = (
    *(Comparison(row, "maskcut_adaptive", claim=3.0, table="masks") for row in _OTHERS),
    *(Comparison(row, "maskcut_adaptive", claim=3.0) for row in _OTHERS),
    Comparison("uniap_soft_droploss", "uniap"),
    Comparison("uniap_soft", "uniap_plain"),
    Comparison("uniap_plain", "uniap"),
    Comparison("uniap_round", "uniap"),
)
