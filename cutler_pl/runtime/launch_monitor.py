"""The processes of Lightning's own launcher while they start, before the ranks are connected (`rank_monitor`).

Lightning looks at them every five seconds and then kills rank 0 without a word; a started process whose rank 0 is gone
waits for half an hour.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from cutler_pl.runtime import signals
from cutler_pl.runtime.rank_monitor import FAILED, GOES_ON, LOST, PATIENCE, end_process

Processes = Callable[[], "list[subprocess.Popen[Any]]"]
_INTERVAL = 0.2
_RANK_ZERO = "CUTLER_PL_RANK_ZERO_PID"


class LaunchMonitor:
    """Ends this process when one that it started fails, or when the one that started it is gone.

    Args:
        processes: Those that this one has started by now, ranks 1, 2, …; None in a started one, which finds the number
            of the first in its environment.
    """

    def __init__(self, processes: Processes | None) -> None:
        self._over = threading.Event()
        self._processes = processes
        if processes is not None:
            os.environ[_RANK_ZERO] = str(os.getpid())  # for the processes that it starts
        self._parent = int(os.environ.get(_RANK_ZERO, os.getppid()))
        threading.Thread(target=self._watch, name="launch monitor", daemon=True).start()

    def stop(self) -> None:
        """End the watch: all ranks are connected, or the run is over."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL) and signals.requested() is None:
            if self._processes is None:
                if os.getppid() != self._parent:
                    end_process(f"rank 0 {LOST}, {GOES_ON}" if os.environ.get("LOCAL_RANK") == "1" else None)
                continue
            started = self._processes()
            for rank, process in enumerate(started, start=1):
                if status := process.poll():
                    self._end(rank, status, started)

    def _end(self, rank: int, status: int, started: "list[subprocess.Popen[Any]]") -> None:
        if signals.is_handled(signum := -status if status < 0 else status - 128):
            signals.receive(signum)
            return
        if status > 0:
            time.sleep(PATIENCE)  # this process has the same error as a rule, and says so
        if self._over.is_set() or signals.requested() is not None:
            return
        for process in started:
            process.kill()
        end_process(f"rank {rank} {FAILED if status > 0 else LOST}, {GOES_ON}")
