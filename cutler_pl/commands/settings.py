"""Settings of a command, checked before the work begins."""

from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError

RENAMED = {
    "augment.copy_paste.max_ioy": "augment.copy_paste.max_ioa",
    "callbacks.checkpoint.keep": "callbacks.checkpoint.save_top_k",
    "data.copy_paste": "augment.copy_paste",
    "gallery": "num_examples",
    "labels": "label_percent",
    "maskcut.max_cut_value": "maskcut.max_ncut_value",
    "max_failed_share": "max_failure_rate",
    "max_faulty": "max_failure_rate",
    "model.detector.detections_per_image": "model.detector.max_detections",
    "model.detector.test_max_size": "model.detector.max_size_test",
    "model.detector.test_size": "model.detector.min_size_test",
    "optimizer.max_tensor_norm": "optimizer.per_param_clip_norm",
    "original": "released",
    "photo": "image",
    "recipe.max_photos": "recipe.max_images",
    "recipe.photos": "recipe.images",
    "sheet": "num_examples",
}
"""Settings of earlier versions by what they are called now."""


def renamed(key: str) -> str | None:
    """What a setting of an earlier version is called now; None for a name that never was one."""
    return RENAMED.get(key)


def require(cfg: DictConfig, *keys: str) -> None:
    """Make sure that all values a command cannot do without are given.

    Raises:
        ConfigError: The message names every one that is missing.
    """
    missing = [key for key in keys if OmegaConf.select(cfg, key, default="???") == "???"]
    if missing:
        raise ConfigError(f"needed and not given: {' '.join(f'{key}=<value>' for key in missing)}")
