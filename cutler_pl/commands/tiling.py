"""The settings `tile` and `overlap` of commands that look at images."""

from omegaconf import DictConfig

from cutler_pl.ops.tiles import TileParams


def tiling(cfg: DictConfig) -> TileParams | None:
    """How images are cut into tiles; None where they are not."""
    return None if cfg.tile is None else TileParams(tile=cfg.tile, overlap=cfg.overlap)
