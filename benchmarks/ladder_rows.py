"""The rows of the ladder: generators of masks, options of their masks, detectors, and what is compared with what."""

from dataclasses import dataclass

from ladder_report import Comparison


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        masks: Settings of `cutler maskcut`.
        calibrated: The scores of the masks are mapped to shares of right masks, as fitted on other scenes.
        training: Settings of the training over those of `experiment=quickstart`.
        round: Settings of a self-training round on disk; None without one.
        continued: Settings of a training that goes on from the first one's weights, on the same masks; None without.
        evaluation: Settings of `cutler evaluate`.
    """

    masks: tuple[str, ...]
    calibrated: bool = False
    training: tuple[str, ...] = ()
    round: tuple[str, ...] | None = None
    continued: tuple[str, ...] | None = None
    evaluation: tuple[str, ...] = ()


GENERATORS: dict[str, tuple[str, ...]] = {
    "maskcut": (),
    "maskcut_adaptive": ("maskcut.stop=adaptive",),
    "maskcut_tuned": ("maskcut.tau=0.9", "maskcut.num_masks=5", "maskcut.corner_rule=invariant"),
    "maskcut_adaptive_tuned": (
        "maskcut.tau=0.95",
        "maskcut.num_masks=5",
        "maskcut.corner_rule=invariant",
        "maskcut.stop=adaptive",
        "maskcut.max_ncut_value=0.5",
    ),
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

_UNIAP, _PROMERGE = GENERATORS["uniap"], GENERATORS["promerge"]
_CONFIDENT = (*_PROMERGE, "confidence=perturbed_cuts")
_SOFT = ("model/loss=soft_droploss",)
ARMS: dict[str, Arm] = {
    **{row: Arm(GENERATORS[row]) for row in ("uniap", "maskcut_adaptive", "promerge")},
    "uniap_soft_droploss": Arm(_UNIAP, training=_SOFT),
    "uniap_soft_droploss_calibrated": Arm(_UNIAP, calibrated=True, training=_SOFT),
    "promerge_soft_droploss": Arm(_PROMERGE, training=_SOFT),
    "promerge_soft_droploss_relative": Arm(_PROMERGE, training=(*_SOFT, "data.relative_scores=true")),
    "promerge_soft_droploss_calibrated": Arm(_PROMERGE, calibrated=True, training=_SOFT),
    "promerge_confidence": Arm(_CONFIDENT, training=("model/loss=[droploss,confidence]",)),
    "promerge_confident_paste": Arm(_CONFIDENT, training=("augment=confidence",)),
    "promerge_plain": Arm(_PROMERGE, training=("model/loss=plain",)),
    "promerge_soft": Arm(_PROMERGE, training=("model/loss=soft",)),
    **{
        row: Arm(GENERATORS[row]) for row in ("hassod", "maskcut_adaptive_tuned", "votecut", "maskcut", "maskcut_tuned")
    },
    "votecut_soft_droploss": Arm(GENERATORS["votecut"], training=_SOFT),
    "promerge_round": Arm(_PROMERGE, round=()),
    "promerge_mean_teacher": Arm(_PROMERGE, continued=("experiment=quickstart_self_train_ema",)),
    "promerge_flip": Arm(_PROMERGE, evaluation=("tta=flip",)),
    "promerge_flip_scales": Arm(_PROMERGE, evaluation=("tta=flip_scales",)),
}
"""Detectors, in the order in which they are trained; DropLoss is the quickstart's."""

_OTHERS = ("maskcut", "maskcut_tuned", "maskcut_adaptive_tuned", "votecut", "promerge", "uniap", "hassod")
COMPARISONS = (
    *(Comparison(row, "maskcut_adaptive", claim=3.0, table="masks") for row in _OTHERS),
    *(
        Comparison(row, "maskcut_adaptive_tuned", claim=3.0, table="masks")
        for row in ("votecut", "promerge", "uniap", "hassod")
    ),
    *(Comparison(row, "maskcut_adaptive", claim=3.0) for row in _OTHERS),
    Comparison("promerge_soft_droploss", "promerge"),
    Comparison("promerge_soft_droploss_relative", "promerge"),
    Comparison("promerge_soft_droploss_relative", "promerge_soft_droploss"),
    Comparison("promerge_soft_droploss_calibrated", "promerge"),
    Comparison("promerge_soft_droploss_calibrated", "promerge_soft_droploss"),
    Comparison("promerge_confidence", "promerge"),
    Comparison("promerge_confident_paste", "promerge"),
    Comparison("votecut_soft_droploss", "votecut"),
    Comparison("uniap_soft_droploss", "uniap"),
    Comparison("uniap_soft_droploss_calibrated", "uniap"),
    Comparison("promerge_plain", "promerge"),
    Comparison("promerge_soft", "promerge_plain"),
    Comparison("promerge_round", "promerge"),
    Comparison("promerge_mean_teacher", "promerge"),
    Comparison("promerge_mean_teacher", "promerge_round"),
    Comparison("promerge_flip", "promerge"),
    Comparison("promerge_flip_scales", "promerge"),
)
