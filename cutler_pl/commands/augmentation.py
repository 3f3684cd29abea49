"""The option `tta`: test-time augmentation of commands that run a detector."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from cutler_pl.models.tta import TtaParams


def augmentation(cfg: DictConfig) -> TtaParams | None:
    """The views in which images are seen; None without test-time augmentation."""
    return None if cfg.get("tta") is None else instantiate(cfg.tta)


def augmentation_settings(cfg: DictConfig) -> str | None:
    """The option as it stands in records of what predictions depend on."""
    params = augmentation(cfg)
    return None if params is None else repr(params)
