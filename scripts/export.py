"""Write a detector as an ONNX file: `python scripts/export.py checkpoint=<weights> output=<file.onnx>`."""

import hydra
from omegaconf import DictConfig

from cutler_pl.pipelines import entry, export


@entry.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@entry.task
def main(cfg: DictConfig) -> None:
    """Run the export pipeline."""
    export.run(cfg)


if __name__ == "__main__":
    main()
