"""Make the annotations of the next self-training round; see conf/self_train.yaml."""

import hydra
from omegaconf import DictConfig

from cutler_pl.pipelines import entry, self_train


@entry.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="self_train")
@entry.task
def main(cfg: DictConfig) -> None:
    """Run the self-training pipeline."""
    self_train.run(cfg)


if __name__ == "__main__":
    main()
