"""Write a detector as an ONNX file: `python scripts/export.py checkpoint=<weights> output=<file.onnx>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import export


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the export pipeline."""
    export.run(cfg)


if __name__ == "__main__":
    main()
