"""The features that `maskcut=` names."""

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.features import FeatureExtractor


def require_features(cfg: DictConfig) -> None:
    """Raise `ConfigError` where no features are chosen."""
    if cfg.get("maskcut") is None:
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
