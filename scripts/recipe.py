"""Run a recipe, stage by stage: `python scripts/recipe.py recipe=quickstart`. See conf/recipe/ for what there is."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
