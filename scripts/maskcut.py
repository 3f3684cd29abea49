"""Find pseudo-masks in images: `python scripts/maskcut.py input=<folder> output=<folder> maskcut=dino_vitb8`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import maskcut


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="maskcut")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the maskcut pipeline."""
    maskcut.run(cfg)


if __name__ == "__main__":
    main()
