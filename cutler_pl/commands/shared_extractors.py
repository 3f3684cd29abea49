"""The extractors of several configs: what two of them name is built once, and sees each image once."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig

from cutler_pl.commands.chosen_features import (
    backbone_settings,
    build_features,
    chosen_features,
    require_features,
)
from cutler_pl.commands.run_metadata import plain
from cutler_pl.maskcut.backbones import AtSide, build_extractors
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.maskcut.shared_features import SharedFeatures

_TARGET = "cutler_pl.maskcut.build_feature_extractor"


class SharedExtractors:
    """Builds and keeps them.

    Args:
        device: Where they live.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._built: dict[str, FeatureExtractor] = {}
        self._shared: dict[tuple[int, int], SharedFeatures] = {}

    @property
    def built(self) -> list[FeatureExtractor]:
        """All of them."""
        return list({id(one): one for one in self._built.values()}.values())

    def of(self, cfg: DictConfig) -> dict[str, SharedFeatures]:
        """As `chosen_extractors`.

        Raises:
            ConfigError: As `chosen_extractors`.
            CheckpointError: The weights of one cannot be loaded.
        """
        require_features(cfg)
        side = cfg.maskcut.fixed_size
        found: Mapping[str, FeatureExtractor | AtSide]
        if cfg.maskcut.get("backbones") is None:
            found = {cfg.maskcut.features.name: chosen_features(cfg, device=self._device, build=self._single)}
        else:
            found = build_extractors(backbone_settings(cfg), fixed_size=side, device=self._device, build=self._build)
        return {name: self._share(extractor, side) for name, extractor in found.items()}

    def _share(self, extractor: FeatureExtractor | AtSide, side: int) -> SharedFeatures:
        key = id(extractor.extractor if isinstance(extractor, AtSide) else extractor), side
        return self._shared.setdefault(key, SharedFeatures(extractor, self._device))

    def _single(self, features: DictConfig, *, device: torch.device) -> FeatureExtractor:
        return self._build(**plain(features), device=device)

    def _build(self, *, device: torch.device, **settings: Any) -> FeatureExtractor:
        settings = {"_target_": _TARGET, **{name: value for name, value in settings.items() if value is not None}}
        extractor = self._built.get(_key(settings)) or build_features(settings, device=device)
        if settings["_target_"] == _TARGET:  # cells of the usual size may be named or not
            named = {**settings, "patch_size": extractor.patch_size}
            extractor = self._built.setdefault(_key(named), extractor)
        return self._built.setdefault(_key(settings), extractor)


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
