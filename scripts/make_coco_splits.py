"""K % of a COCO file for training on few labels: `python scripts/make_coco_splits.py annotations=<json> seed=0`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import make_coco_splits


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="make_coco_splits")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the make_coco_splits pipeline."""
    make_coco_splits.run(cfg)


if __name__ == "__main__":
    main()
