"""Options of the mean teacher (`training/mean_teacher.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cutler_pl.runtime.ranges import ListOf, Number, Share, check_fields

_RAMP = ListOf(Number(min=0, max=1000), 2, 2, as_tuple=True)


@dataclass(frozen=True, kw_only=True)
class MeanTeacherParams:
    """Thresholds and weights; the defaults are those of HASSOD's code."""

    min_score: Share = 0.7
    """Lowest score of a teacher's detection that the student learns; CUPS: 0.5."""
    first_weight: Annotated[Sequence[float], _RAMP] = (1.0, 0.0)
    """Factor of the losses of the annotations at the first and after the last step, half a cosine between."""
    teacher_weight: Annotated[Sequence[float], _RAMP] = (2.0, 3.0)
    """Factor of the losses of the teacher's detections, in the same way."""
    mask_loss: bool = False
    """Whether the student learns the teacher's masks, too, as in CUPS; losses with `mask` in their name."""
    ignore_iou: Share | None = 0.01
    """IoU with the teacher's boxes up to which regions and anchors give no loss; None: they are background."""

    def __post_init__(self) -> None:
        check_fields(self, "teacher.params.")
