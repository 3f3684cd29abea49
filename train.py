"""Train a detector: `python train.py experiment=cutler_cascade [overrides]`. See conf/train.yaml for every setting."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import train


@cli.command
@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the training pipeline."""
    train.run(cfg)


if __name__ == "__main__":
    main()
