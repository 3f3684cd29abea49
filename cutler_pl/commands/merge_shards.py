"""Merge the shards of MaskCut runs, or the original's per-folder JSON files, into one COCO file."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from cutler_pl.errors import ConfigError
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.pseudo_masks.output_folder import OutputFolder
from cutler_pl.pseudo_masks.shards import read_inputs
from cutler_pl.runtime.locks import file_lock


def run(cfg: DictConfig) -> Path:
    """Merge as `conf/merge_shards.yaml` describes; returns the COCO file.

    Raises:
        DatasetNotFoundError: There is nothing to merge.
        AnnotationError: A file is not COCO, or images of the input are missing.
        OutputLockedError: A run is still writing there.
    """
    if cfg.sources is not None and not isinstance(cfg.sources, ListConfig):
        raise ConfigError(f"sources={cfg.sources}: expected a list, such as 'sources=[{cfg.sources}]'")
    folder = OutputFolder(cfg.output)
    sources = list(cfg.sources or [folder.shards])
    options = {"failures": folder.failures, "allow_missing": cfg.allow_missing}
    with file_lock(cfg.output, purpose="merge_shards"):
        merge_shards(
            sources, folder.annotations, expected=None if cfg.sources else read_inputs(folder.shards), **options
        )
    return folder.annotations
