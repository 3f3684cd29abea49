"""Renamed and required settings."""

import re

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
    "sheet": "num_examples",
}
"""Old to new names of renamed settings."""


RENAMED_OPTIONS = {
    r"callbacks/validate": "data/validation=coco_val2017",
    r"data/coco_(\d+)pct": r"experiment=semi label_percent=\1",
    r"optimizer/semi_(high|low)": "experiment=semi label_percent=<percentage>",
    r"scheduler/(?:semi|fully)_(\d+)pct": r"experiment=semi label_percent=\1",
}
"""Patterns of old options, as `<group>/<option>`, to what does the same now."""


def renamed_option(option: str) -> str | None:
    """What stands for an old `<group>/<option>` now; None if there was no such option."""
    for pattern, new in RENAMED_OPTIONS.items():
        if match := re.fullmatch(pattern, option):
            return match.expand(new)
    return None


def require(cfg: DictConfig, *keys: str) -> None:
    """Raise `ConfigError` naming every setting of `keys` that has no value."""
    missing = [key for key in keys if OmegaConf.select(cfg, key, default="???") in ("???", None)]
    if missing:
        raise ConfigError(f"needed and not given: {' '.join(f'{key}=<value>' for key in missing)}")
