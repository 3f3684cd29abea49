"""Settings of a command, checked before the work begins."""

from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError


def require(cfg: DictConfig, *keys: str) -> None:
    """Make sure that all values a command cannot do without are given.

    Raises:
        ConfigError: The message names every one that is missing.
    """
    missing = [key for key in keys if OmegaConf.is_missing(cfg, key)]
    if missing:
        raise ConfigError(f"needed and not given: {' '.join(f'{key}=<value>' for key in missing)}")
