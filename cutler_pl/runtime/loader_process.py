"""Signals and errors of a loader process: it works until its parent ends or says so."""

import signal
import sys
from types import TracebackType


def in_loader_process(number: int = 0) -> None:
    """Let a loader process work until its parent ends or says so: signals reach all processes of a run at once.

    A second SIGTERM ends it. For `worker_init_fn`, after torch has set a handler of its own.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    sys.excepthook = _silent_without_parent


def _silent_without_parent(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say nothing of a connection that the parent closed: its end, not an error of the thread that shares tensors."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)
