"""What finds masks in images: the interface of all generators, and MaskCut behind it.

A generator sees a batch of images and their patch features, and gives scored candidates on a patch grid. Refinement,
encoding, figures and the runs over datasets take any generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.maskcut.ncut import EigenSolver
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.pipeline import maskcut
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.maskcut.scores import cut_scores

Features = Mapping[str, Float[Tensor, "batch _ _ _"]]
"""Patch features of a batch of images, (batch, dim, h, w), by the name of the backbone."""

_BELOW_ONE = 0.999


@dataclass(frozen=True)
class Candidates:
    """Masks found in one image, on a patch grid of the generator's choice, before the refinement.

    Attributes:
        masks: One per candidate; an empty one stands for a round without an object.
        scores: From 0 to 1; those of empty masks mean nothing.
        provenance: How each mask was found, in JSON's types, as keys of its annotation. `parent` is the number of the
            mask that holds it, from 1.
        dropped: Number of candidates that were found and left out, by reason.
        maps: What the masks were read from, on a grid, for figures; by title.
    """

    masks: Bool[Tensor, "masks h w"]
    scores: Float[Tensor, " masks"]
    provenance: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    maps: Mapping[str, Float[Tensor, "_ _"]] = field(default_factory=dict)


@runtime_checkable
class Generator(Protocol):
    """A way to find masks; its options are its fields."""

    name: ClassVar[str]
    """As `generator=` names it."""
    policy: ClassVar[RefinementPolicy]
    """What the refinement may do to its masks."""

    def constants(self) -> dict[str, Any]:
        """All values that the masks depend on, in JSON's types."""
        ...

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """Candidates of each image, on the features' device.

        Args:
            images: RGB, 0..255.
            features: Of these images.

        Raises:
            InputError: The features are not what the generator needs.
        """
        ...


def shift(threshold: float, step: float, *, least: float = 0.0, most: float = 1.0) -> float:
    """A threshold raised by a step, within a range."""
    return min(max(threshold + step, least), most)


def only_backbone(name: str, features: Features) -> Float[Tensor, "batch dim h w"]:
    """The features of the single backbone that a generator takes.

    Raises:
        InputError: They are of several backbones.
    """
    if len(features) != 1:
        raise InputError(f"generator={name} takes the features of one backbone, and {len(features)} are given")
    return next(iter(features.values()))


@dataclass(frozen=True)
class MaskCutGenerator:
    """MaskCut: one candidate per round, without the patches that earlier rounds found.

    Attributes:
        params: Constants of the cut.
        solver: As for `maskcut`.
    """

    params: MaskCutParams
    solver: str | EigenSolver = "auto"

    name: ClassVar[str] = "maskcut"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy()

    def constants(self) -> dict[str, Any]:
        """See `Generator`."""
        return asdict(self.params)

    def shifted(self, step: float) -> "MaskCutGenerator":
        """See `Shiftable`."""
        return replace(self, params=replace(self.params, tau=shift(self.params.tau, step, most=_BELOW_ONE)))

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """See `Generator`."""
        cut = maskcut(only_backbone(self.name, features), self.params, solver=self.solver)
        separate = cut.masks & (cut.masks.int().cumsum(1) - cut.masks.int() == 0)  # the first to find a patch keeps it
        found, left = (masks.flatten(2).any(2) for masks in (cut.masks, separate))
        repeated = "repeated or small" if self.params.stop == "never" else "repeated, small, or none left"
        counts = {repeated: (~found).sum(1).tolist(), "covered by earlier": (found & ~left).sum(1).tolist()}
        return [
            Candidates(
                masks=separate[i],
                scores=cut_scores(cut.ncut_values[i]),
                provenance=[{"ncut_value": round(value, 6)} for value in values],
                dropped={reason: numbers[i] for reason, numbers in counts.items() if numbers[i]},
                maps={f"eigenvector {n}": vector for n, vector in enumerate(cut.eigenvectors[i], 1)},
            )
            for i, values in enumerate(cut.ncut_values.tolist())
        ]
