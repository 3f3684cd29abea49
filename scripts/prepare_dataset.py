"""Convert a dataset into the catalogue's COCO file, or fetch it: `python scripts/prepare_dataset.py name=<dataset>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import prepare_dataset


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare_dataset")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the prepare_dataset pipeline."""
    prepare_dataset.run(cfg)


if __name__ == "__main__":
    main()
