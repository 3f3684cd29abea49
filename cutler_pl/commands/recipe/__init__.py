"""The command `recipe`: stages that depend on one another, here or as jobs."""

from cutler_pl.commands.overrides import format_overrides
from cutler_pl.commands.recipe.command import run
from cutler_pl.commands.recipe.stages import Stage, read_stages

__all__ = ["Stage", "format_overrides", "read_stages", "run"]
