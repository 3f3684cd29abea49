"""The constants of MaskCut in one place.

MaskCut is Section 3.2 of the CutLER paper; the values are those of its Section 4.1 and of the released program
where the paper is silent (its scripts disagree on τ: 0.15 is what the released annotations were made with).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from cutler_pl.errors import ConfigError

CornerRule = Literal["original", "invariant"]
Stop = Literal["never", "dropped", "ncut_value", "foreground", "adaptive"]


@dataclass(frozen=True, kw_only=True)
class MaskCutParams:
    """How a patch graph is built, cut and cut again.

    Attributes:
        tau: τ, the cosine similarity above which two patches are similar (paper, Eq. 2).
        num_masks: N, rounds of cutting, so at most this many objects per image.
        eps: Weight between dissimilar patches; the same for the patches of objects already found.
        corner_rule: What happens when a side of the cut holds three or four corners of the image and is therefore
            taken for background. `original` depends on the sign of LAPACK's eigenvector, reproduced here;
            `invariant` always takes the other side then.
        max_overlap: A round whose mask overlaps the previous one by more than this IoU is dropped.
        min_area: A round after the first whose mask covers no more than this share of the patches is dropped.
        stop: When to stop looking for objects in an image. `never` runs all rounds, as the original does: after a
            round dropped for overlap, the next accepts the very same mask. `dropped` ends at the first dropped round;
            `ncut_value` also where the Ncut value exceeds `max_ncut_value`; `foreground` also where the object covers
            more than `max_border` of the image's border; `adaptive` for any of these reasons.
        max_ncut_value: Largest λ₂, the relaxed normalised cut in 0..2, of a cut between object and rest.
        max_border: Largest share of the border's patches that an object covers; a background covers more.
    """

    tau: float = 0.15
    num_masks: int = 3
    eps: float = 1e-5
    corner_rule: CornerRule = "original"
    max_overlap: float = 0.5
    min_area: float = 0.01
    stop: Stop = "never"
    max_ncut_value: float = 0.7
    max_border: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.tau < 1:
            raise ConfigError(f"maskcut.tau is {self.tau}; a similarity threshold lies in 0 ≤ tau < 1")
        if self.num_masks < 1:
            raise ConfigError(f"maskcut.num_masks is {self.num_masks}; at least one round is needed")
        if not 0 < self.eps < 1:
            raise ConfigError(f"maskcut.eps is {self.eps}; the weight of dissimilar patches lies in 0 < eps < 1")
        if self.corner_rule not in get_args(CornerRule):
            raise ConfigError(f"maskcut.corner_rule is {self.corner_rule!r}; choose from {_names(CornerRule)}")
        if not 0 <= self.max_overlap <= 1:
            raise ConfigError(f"maskcut.max_overlap is {self.max_overlap}; an IoU lies in 0..1")
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"maskcut.min_area is {self.min_area}; a share of the image lies in 0 ≤ min_area < 1")
        if self.stop not in get_args(Stop):
            raise ConfigError(f"maskcut.stop is {self.stop!r}; choose from {_names(Stop)}")
        if not 0 < self.max_ncut_value <= 2:
            raise ConfigError(f"maskcut.max_ncut_value is {self.max_ncut_value}; a normalised cut lies in 0..2")
        if not 0 < self.max_border <= 1:
            raise ConfigError(f"maskcut.max_border is {self.max_border}; a share of the border lies in 0..1")


def _names(choice: object) -> str:
    return ", ".join(get_args(choice))
