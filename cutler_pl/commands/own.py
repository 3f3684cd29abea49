"""The recipe `own_images` under a name of its own."""

from cutler_pl.commands.recipe import run

__all__ = ["run"]
