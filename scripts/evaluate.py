"""Measure detections: `python scripts/evaluate.py predictions=<json> annotations=<json>`; see conf/evaluate.yaml."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import evaluate


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the evaluation pipeline."""
    evaluate.run(cfg)


if __name__ == "__main__":
    main()
