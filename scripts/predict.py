"""Run a detector over images: `python scripts/predict.py checkpoint=<ckpt> input=<file|folder> output=<folder>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import predict


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the prediction pipeline."""
    predict.run(cfg)


if __name__ == "__main__":
    main()
