"""A lost process ends the others: the Trainer's part of `runtime.rank_monitor`."""

from functools import partial
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from cutler_pl.runtime.distributed import world_size
from cutler_pl.runtime.launch_monitor import LaunchMonitor
from cutler_pl.runtime.rank_monitor import RankMonitor


class RankWatch(L.Callback):
    """Watches over the ranks of one Trainer, from their start on; does nothing for a single process."""

    def __init__(self) -> None:
        self._launch: LaunchMonitor | None = None
        self._ranks: RankMonitor | None = None

    def watch_launch(self, trainer: L.Trainer) -> None:
        """Watch over the processes that Lightning starts, in place of its own observer, which kills without a word."""
        strategy: Any = trainer.strategy
        launcher, environment = strategy.launcher, getattr(strategy, "cluster_environment", None)
        if launcher is None or type(environment) is not LightningEnvironment:
            return

        external = environment.creates_processes_externally
        if not external or environment.local_rank() > 0:
            self._launch = LaunchMonitor(None if external else partial(_take_processes, launcher))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Connect the ranks."""
        if world_size() > 1:
            self._ranks = RankMonitor()
            _take_processes(trainer.strategy.launcher)
        self._stop_launch()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the others."""
        if self._ranks is not None:
            self._ranks.leave(exception)
        self._stop_launch()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """End the watch."""
        if self._ranks is not None:
            self._ranks.finish()
        self._ranks = None

    def _stop_launch(self) -> None:
        if self._launch is not None:
            self._launch.stop()


def _take_processes(launcher: Any) -> list[Any]:
    """The processes that Lightning has started, in a list of their own: its observer ends once the old one is empty."""
    if procs := getattr(launcher, "procs", []):
        launcher.procs = list(procs)
        procs.clear()
        return list(launcher.procs)
    return []
