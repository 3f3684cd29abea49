"""The constants of MaskCut in one place.

MaskCut is Section 3.2 of the CutLER paper; the values are those of its Section 4.1 and of the released program
where the paper is silent (its scripts disagree on τ: 0.15 is what the released annotations were made with).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.ranges import SHARE, Integer, ListOf, Number, Share, check_fields, optional

CornerRule = Literal["original", "invariant"]
Stop = Literal["never", "dropped", "ncut_value", "foreground", "adaptive"]
SolverName = Literal["auto", "lanczos", "scipy"]
SplitName = Literal["none", "watershed"]

_AREA = Number(min=0, below=1)
_SCORE_MAP = optional(ListOf(ListOf(SHARE, 2, 2, as_tuple=True), as_tuple=True))


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

    tau: Annotated[float, Number(min=0, below=1)] = 0.15
    num_masks: Annotated[int, Integer(1, 1000)] = 3
    eps: Annotated[float, Number(min=1e-12, below=1)] = 1e-5
    corner_rule: CornerRule = "original"
    max_overlap: Share = 0.5
    min_area: Annotated[float, _AREA] = 0.01
    stop: Stop = "never"
    max_ncut_value: Annotated[float, Number(above=0, max=2)] = 0.7
    max_border: Annotated[float, Number(above=0, max=1)] = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "maskcut.")


@dataclass(frozen=True, kw_only=True)
class PerturbedCuts:
    """How a generator is perturbed to see what is certain, see `maskcut/confidence.py`; each shift is one more run.

    Attributes:
        shifts: What each run adds to the generator's thresholds of similarity (τ).
        noise: Length of the random vector that each run adds to the features of a patch, as a share of theirs.
        seed: Of the noise, which is the same for all images.
    """

    shifts: Annotated[Sequence[float], ListOf(Number(min=-1, max=1), as_tuple=True)] = (-0.1, -0.05, 0.0, 0.05, 0.1)
    noise: Annotated[float, Number(min=0, max=10)] = 0.1
    seed: Annotated[int, Integer(0, 2**31 - 1)] = 0

    def __post_init__(self) -> None:
        check_fields(self, "confidence.")


@dataclass(frozen=True, kw_only=True)
class WatershedParams:
    """When a mask is split in two.

    Attributes:
        max_neck: Largest width of the neck between two parts, as a share of the width of the thinner part.
        min_similarity: Smallest cosine of the parts' mean features.
        min_part: Smallest area of a part, as a share of the larger part's area.
    """

    max_neck: Annotated[float, Number(above=0, max=1)] = 0.7
    min_similarity: Annotated[float, Number(min=-1, max=1)] = 0.7
    min_part: Annotated[float, Number(above=0, max=1)] = 0.3

    def __post_init__(self) -> None:
        check_fields(self, "annotation.watershed.")


@dataclass(frozen=True, kw_only=True)
class AnnotationParams:
    """Extensions of the original's annotation; none by default.

    Attributes:
        scores: Write a score from 0 to 1, see `mask_score`, and the Ncut value λ₂ of the round.
        split_parts: Make each 4-connected component of a mask an annotation of its own.
        min_area: Leave out masks, or components, that cover less than this share of the image.
        split: `watershed` splits what touching objects of one kind share, see `maskcut/splitting.py`.
        watershed: When it splits.
        score_map: What scores are written as: a rising map, as pairs of a score and its calibrated value, linear
            between them and constant outside; `cutler calibrate` fits one. None: as they are.
    """

    scores: bool = False
    split_parts: bool = False
    min_area: Annotated[float, _AREA] = 0.0
    split: SplitName = "none"
    watershed: WatershedParams = field(default_factory=WatershedParams)
    score_map: Annotated[Sequence[Sequence[float]] | None, _SCORE_MAP] = None

    def __post_init__(self) -> None:
        check_fields(self, "annotation.")
        if self.score_map is not None and any(
            low >= high or value > above for (low, value), (high, above) in pairwise(self.score_map)
        ):
            raise ConfigError(
                "annotation.score_map: its scores must rise and its values must not fall, or it would change the order "
                "of masks; sort its pairs"
            )

    def calibrated(self, score: float) -> float:
        """A score as it is written."""
        if self.score_map is None:
            return score
        points = np.array(self.score_map)
        return float(np.interp(score, points[:, 0], points[:, 1]))

    def constants(self) -> dict[str, Any]:
        """All values that results depend on."""
        values = asdict(self)
        if self.split == "none":  # so that outputs of versions without it go on
            del values["split"], values["watershed"]
        if self.score_map is None:
            del values["score_map"]
        return values
