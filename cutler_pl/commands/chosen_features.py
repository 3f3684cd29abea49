"""The features that `maskcut=` names."""

from collections.abc import Mapping

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.api.options import features_of
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.backbones import AtSide, build_extractors
from cutler_pl.maskcut.features import FeatureExtractor


def require_features(cfg: DictConfig) -> None:
    """Raise `ConfigError` where no features are chosen."""
    if cfg.get("maskcut") is None or "fixed_size" not in cfg.maskcut:  # generator=votecut alone has other keys there
        raise ConfigError(
            "maskcut=<features> is needed: maskcut=dino_vitb8 (the paper's; downloads weights or takes them from "
            "maskcut.features.weights=<file>) or maskcut=patch_descriptors (needs no weights, much weaker); "
            "conf/maskcut/ holds all options"
        )


def chosen_features(cfg: DictConfig, *, device: str | torch.device = "cpu") -> FeatureExtractor:
    """The extractor that `maskcut=` names.

    Raises:
        ConfigError: No features are chosen, or they do not go with `maskcut.fixed_size`.
        CheckpointError: The weights cannot be loaded.
    """
    require_features(cfg)
    extractor: FeatureExtractor = instantiate(cfg.maskcut.features, device=device)
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
    entries = OmegaConf.to_container(cfg.maskcut.backbones, resolve=True)
    assert isinstance(entries, list)
    return build_extractors([features_of(entry) for entry in entries], fixed_size=cfg.maskcut.fixed_size)
