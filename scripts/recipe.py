"""Run a recipe, stage by stage: `python scripts/recipe.py recipe=quickstart`. See conf/recipe/ for what there is."""

import hydra
from omegaconf import DictConfig

from cutler_pl import cli
from cutler_pl.commands import recipe


@cli.command
@hydra.main(version_base="1.3", config_path="../conf", config_name="recipe")
@cli.task
def main(cfg: DictConfig) -> None:
    """Run the recipe pipeline."""
    recipe.run(cfg)


if __name__ == "__main__":
    main()
