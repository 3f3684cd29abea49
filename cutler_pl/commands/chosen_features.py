"""The features that `maskcut=` names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cutler_pl.api.options import features_of
from cutler_pl.commands.run_metadata import plain
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.backbones import AtSide, build_extractors
from cutler_pl.maskcut.feature_cache import PRECISION, CachedFeatures
from cutler_pl.maskcut.features import FeatureExtractor

_OWN = "cutler_pl.maskcut.build_feature_extractor"


def require_features(cfg: DictConfig) -> None:
    """Raise `ConfigError` where no features are chosen."""
    if cfg.get("maskcut") is None or "fixed_size" not in cfg.maskcut:  # generator=votecut alone has other keys there
        raise ConfigError(
            "maskcut=<features> is needed: maskcut=dino_vitb8 (the paper's; downloads weights or takes them from "
            "maskcut.features.weights=<file>) or maskcut=patch_descriptors (needs no weights, much weaker); "
            "conf/maskcut/ holds all options"
        )


def build_features(features: Mapping[Any, Any], *, device: str | torch.device) -> FeatureExtractor:
    """The extractor of `maskcut.features`; one of the user's own knows nothing of heads and caches.

    Raises:
        ConfigError: A setting cannot work.
        CheckpointError: The weights cannot be loaded.
    """
    settings: dict[str, Any] = {str(key): features[key] for key in features}
    cache = settings.pop("cache", None)
    if settings["_target_"] == _OWN:
        extractor: FeatureExtractor = instantiate(settings, cache=cache, device=device)
        return extractor
    if settings.get("heads", "") is None:
        del settings["heads"]
    extractor = instantiate(settings, device=device)
    if cache is None:
        return extractor
    if not isinstance(extractor, nn.Module):
        raise ConfigError(f"maskcut.features.cache: {settings['_target_']} is no module of weights; leave it out")
    return CachedFeatures(extractor, cache, settings={key: settings[key] for key in settings if key != "weights"})


def chosen_features(
    cfg: DictConfig, *, device: str | torch.device = "cpu", build: Callable[..., FeatureExtractor] = build_features
) -> FeatureExtractor:
    """The extractor that `maskcut=` names; `build` makes it of its settings and the device.

    Raises:
        ConfigError: No features are chosen, or they do not go with `maskcut.fixed_size`.
        CheckpointError: The weights cannot be loaded.
    """
    require_features(cfg)
    extractor = build(cfg.maskcut.features, device=device)
    if cfg.maskcut.fixed_size % extractor.patch_size:
        size = f"the patch size {extractor.patch_size} of {cfg.maskcut.features.name}"
        raise ConfigError(f"maskcut.fixed_size={cfg.maskcut.fixed_size} is not a multiple of {size}")
    return extractor


def chosen_extractors(cfg: DictConfig) -> Mapping[str, FeatureExtractor | AtSide]:
    """The extractors of a run, by name: those of `maskcut.backbones`, or the one that `maskcut=` names.

    Raises:
        ConfigError: As `chosen_features`, or a backbone is not known.
        CheckpointError: The weights of one cannot be loaded.
    """
    require_features(cfg)
    if cfg.maskcut.get("backbones") is None:
        return {cfg.maskcut.features.name: chosen_features(cfg)}
    return build_extractors(backbone_settings(cfg), fixed_size=cfg.maskcut.fixed_size)


def backbone_settings(cfg: DictConfig) -> list[dict[str, Any]]:
    """The settings of the features of each of `maskcut.backbones`."""
    entries = OmegaConf.to_container(cfg.maskcut.backbones, resolve=True)
    assert isinstance(entries, list)
    cache = {"cache": cfg.maskcut.features.get("cache")}
    return [features_of(entry) | cache for entry in entries]


def recorded_features(cfg: DictConfig) -> dict[str, Any]:
    """What the record of a run says of its features: a cache changes their precision, wherever it is."""
    features = plain(cfg.maskcut.features)
    cache = features.pop("cache", None)
    return {"features": features, **({} if cache is None else {"feature_precision": PRECISION})}
