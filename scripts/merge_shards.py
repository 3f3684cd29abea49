"""Merge the shards of MaskCut runs into one COCO file: `python scripts/merge_shards.py output=<folder>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import merge_shards


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="merge_shards")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the merge_shards pipeline."""
    merge_shards.run(cfg)


if __name__ == "__main__":
    main()
