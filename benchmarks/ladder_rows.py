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

ARMS: dict[str, Arm] = {
    **{row: Arm(GENERATORS[row]) for row in ("maskcut_adaptive", "promerge", "uniap")},
    "promerge_soft_droploss": Arm(GENERATORS["promerge"], ("model/loss=soft_droploss",)),
    "promerge_plain": Arm(GENERATORS["promerge"], ("model/loss=plain",)),
    "promerge_soft": Arm(GENERATORS["promerge"], ("model/loss=soft",)),
    **{row: Arm(GENERATORS[row]) for row in ("hassod", "votecut", "maskcut")},
    "promerge_round": Arm(GENERATORS["promerge"], round=()),
}
"""Detectors, in the order in which they are trained; DropLoss is the quickstart's."""

COMPARISONS = (
    *(
        Comparison(row, "maskcut_adaptive", claim=3.0, table="masks")
        for row in ("maskcut", "votecut", "promerge", "uniap", "hassod")
    ),
    *(Comparison(row, "maskcut_adaptive", claim=3.0) for row in ("maskcut", "votecut", "promerge", "uniap", "hassod")),
    Comparison("promerge_soft_droploss", "promerge"),
    Comparison("promerge_soft", "promerge_plain"),
    Comparison("promerge_plain", "promerge"),
    Comparison("promerge_round", "promerge"),
)
