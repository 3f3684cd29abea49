"""The command `evaluate`: plan, predict, measure, report."""

from cutler_pl.commands.evaluate.command import run

__all__ = ["run"]
