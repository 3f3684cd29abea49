"""Which features the page can cut by: `patch_descriptors`, and the networks whose weights are on this machine."""

from collections.abc import Sequence
from typing import Any

import torch

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.errors import InputError
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.maskcut.released import BACKBONES
from cutler_pl.weights.hub import is_in_hub_cache

WITHOUT_WEIGHTS = "patch_descriptors"


class Backbones:
    """The features that are offered, each built when it is first chosen.

    Args:
        names: Those to build now, fetching their weights where they are missing; None for what is on this machine.
        device: Where they run.

    Raises:
        ConfigError: There is no such name.
        CheckpointError: Weights cannot be had.
    """

    def __init__(self, names: Sequence[str] | None, *, device: torch.device) -> None:
        self.device = device
        self._built: dict[str, FeatureExtractor] = {}
        here = [name for name, one in BACKBONES.items() if is_in_hub_cache(f"timm/{one.timm_name}")]
        self.names = list(dict.fromkeys([WITHOUT_WEIGHTS, *(here if names is None else names)]))
        for name in names or ():
            self.extractor(name)

    @property
    def missing(self) -> list[str]:
        """Networks whose weights are not offered."""
        return [name for name in BACKBONES if name not in self.names]

    def option(self, name: str) -> dict[str, Any]:
        """The values of the option file of a name that is offered.

        Raises:
            InputError: It is not offered.
        """
        if name not in self.names:
            raise InputError(f"there is no backbone {str(name)[:40]!r} here; choose one of {', '.join(self.names)}")
        return read_maskcut_option(name)

    def params(self, name: str) -> MaskCutParams:
        """The constants of the cut in its option file."""
        option = self.option(name)
        return MaskCutParams(**{key: option[key] for key in MaskCutParams.__dataclass_fields__ if key in option})

    def extractor(self, name: str) -> FeatureExtractor:
        """The features.

        Raises:
            InputError: They are not offered.
            CheckpointError: The weights cannot be had, or do not fit.
        """
        if name not in self._built:
            features = self.option(name)["features"]
            self._built[name] = build_feature_extractor(**features, device=self.device)
        return self._built[name]
