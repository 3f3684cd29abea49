"""Make the annotations of the next self-training round; see conf/self_train.yaml."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import self_train


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="self_train")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the self-training pipeline."""
    self_train.run(cfg)


if __name__ == "__main__":
    main()
