"""Merge the shards of MaskCut runs, or the original's per-folder JSON files, into one COCO file."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from cutler_pl.errors import ConfigError
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.pseudo_masks.output_folder import OutputFolder
from cutler_pl.pseudo_masks.shards import read_inputs
from cutler_pl.runtime.locks import file_lock


def run(cfg: DictConfig) -> Path:
    """Merge as `conf/merge_shards.yaml` describes.

    Returns:
        The COCO file.

    Raises:
        DatasetNotFoundError: There is nothing to merge.
        AnnotationError: A file is not COCO, or images of the input are missing.
        OutputLockedError: A run is still writing there.
    """
    if cfg.sources is not None and not isinstance(cfg.sources, ListConfig):
        raise ConfigError(f"sources={cfg.sources}: expected a list, such as 'sources=[{cfg.sources}]'")
    folder = OutputFolder(cfg.output)
    with file_lock(cfg.output, purpose="merge_shards"):
        expected = None if cfg.sources else read_inputs(folder.shards)
        merge_shards(
            list(cfg.sources or [folder.shards]),
            folder.annotations,
            expected=expected,
            failures=folder.failures,
            allow_missing=cfg.allow_missing,
        )
    return folder.annotations
