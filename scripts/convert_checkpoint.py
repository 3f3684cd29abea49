"""Convert the weights of a detector: `python scripts/convert_checkpoint.py source=<weights> output=<file>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import convert_checkpoint


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="convert_checkpoint")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the convert_checkpoint pipeline."""
    convert_checkpoint.run(cfg)


if __name__ == "__main__":
    main()
