"""SIGINT and SIGTERM end a command within seconds: one sentence, exit status 128 + signal.

While a command starts, the process ends at once. Then the first signal raises `StoppedBySignal` in the main thread, so
that temporary files, loader processes and threads are cleaned up. A thread ends the process where this takes longer
than `GRACE_SECONDS`: native code runs no handlers of Python.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.loader_process import in_loader_process

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 8.0
GOES_ON = "the same command goes on from what is finished"
_REPEATED_AFTER = 1.0  # `timeout`, schedulers and Ctrl-C reach a process twice within a moment


Launched = Callable[[], list["subprocess.Popen[Any]"]]


class StoppedBySignal(SystemExit):
    """The process was told to end; `rest` says how to go on."""

    def __init__(self, signum: int, rest: str = GOES_ON, *, code: int | None = None) -> None:
        super().__init__(128 + signum if code is None else code)
        self.signum = signal.Signals(signum)
        self.rest = rest


class _Handling:
    """The handlers of this process while a command runs, and the thread that watches over them."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.since = 0.0
        self.is_starting = True
        self.grace = GRACE_SECONDS
        self.is_deferred = False
        self.launched: Launched = list
        self._processes: list[subprocess.Popen[Any]] = []
        self._passing_on = threading.Lock()
        self._saying = threading.RLock()
        self._said = False
        self._finished = threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.signals = list(STOP_SIGNALS)
        self._before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self.install()
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def install(self) -> None:
        for signum in self.signals:
            signal.signal(signum, self._on_signal)

    def add(self, signum: signal.Signals) -> None:
        self._before.setdefault(signum, signal.getsignal(signum))
        self.signals = list(self._before)
        self.install()

    def remove(self) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._finished.set()
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def say(self, signum: signal.Signals, rest: str = GOES_ON) -> None:
        """Write the sentence once, on rank 0."""
        self._saying.acquire(timeout=1)  # held by a thread that is writing it; never released, as the process ends
        if self._said or global_rank() != 0:
            return
        self._said = True
        sentence = f"stopped by {signum.name}; {rest}\n"
        try:
            sys.stderr.write(sentence)
            sys.stderr.flush()
        except (OSError, ValueError, RuntimeError):  # closed, or in use by the interrupted code
            os.write(2, sentence.encode())

    def end(self, signum: signal.Signals) -> None:
        """End the process and those it started, without cleaning up."""
        self.say(signum)
        for child in multiprocessing.active_children():
            child.kill()
        for process in self._processes:
            process.kill()
        os._exit(128 + signum)

    def pass_on(self, signum: int) -> None:
        """Send the signal to the launched processes, once."""
        with self._passing_on:
            launched = self.launched()
            for process in launched:
                process.send_signal(signum)
            self._processes += launched
            launched.clear()

    def wait(self) -> None:
        """Wait for the processes that the signal was passed on to."""
        for process in self._processes:
            try:
                process.wait(self.grace / 2)
            except subprocess.TimeoutExpired:
                process.kill()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        signum = signal.Signals(number)
        if self.received is not None:
            if time.monotonic() - self.since > _REPEATED_AFTER:
                self.end(self.received)
            return
        self.received, self.since = signum, time.monotonic()
        if self.is_starting:
            self.end(signum)
        if not self.is_deferred:
            raise StoppedBySignal(signum)

    def _watch(self) -> None:
        """Pass the first signal on, and end the process where the main thread has not in time."""
        while number := os.read(self._read, 1):
            if number[0] in self.signals:
                break
        else:
            return
        since = time.monotonic()
        self.pass_on(number[0])
        while not self.is_starting and time.monotonic() < since + self.grace:
            if self._finished.wait(0.1):
                return
        self.end(signal.Signals(number[0]))


_handling: _Handling | None = None


@contextmanager
def handled() -> Iterator[None]:
    """End the process by one sentence and `SystemExit` when a signal comes; only in the main thread, outermost.

    After a signal the handlers stay, until the process has ended or `release` is called.
    """
    global _handling
    if _handling is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    here = _handling = _Handling()
    try:
        yield
    except BaseException as error:
        if isinstance(error, StoppedBySignal):
            stop = error
        elif here.received is not None:  # a consequence, such as the error of a loader process that has ended, too
            stop = StoppedBySignal(here.received)
        elif isinstance(error, KeyboardInterrupt):
            stop = StoppedBySignal(signal.SIGINT)
        else:
            raise
        here.pass_on(stop.signum)
        here.wait()
        here.say(stop.signum, stop.rest)
        _end_loader_processes()
        raise SystemExit(stop.code) from None
    finally:
        if here.received is None:
            release()


def _end_loader_processes() -> None:
    """End processes whose iterators are still referenced: Python would wait for them, and they outlive one SIGTERM."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises where a loader process is killed
    for child in multiprocessing.active_children():
        child.kill()


def release() -> None:
    """Put the handlers back that were there before."""
    global _handling
    if _handling is not None:
        _handling.remove()
    _handling = None


def begin_work() -> None:
    """End the start of a command: from here on a signal raises `StoppedBySignal`."""
    if _handling is not None:
        _handling.is_starting = False


def requested() -> signal.Signals | None:
    """The signal that told this process to end, if one did."""
    return None if _handling is None else _handling.received


def is_handled(signum: int) -> bool:
    """Whether a signal ends this process by one sentence."""
    return _handling is not None and signum in _handling.signals


def receive(signum: int, within: float | None = None) -> None:
    """Have this process end as if it had got a signal, from a thread: another process of its run has got it.

    Args:
        signum: The signal.
        within: Seconds after which the process ends where it is; None for those of any signal.
    """
    here = _handling
    os.kill(os.getpid(), signum)
    if here is not None and within is not None and not here._finished.wait(within):
        here.end(signal.Signals(signum))


@contextmanager
def deferred(grace: float) -> Iterator[None]:
    """Inside, the first signal is noted only: look at `requested()` at points of your own, and leave within `grace`.

    A second signal ends the process at once.

    Raises:
        StoppedBySignal: On leaving, after a signal.
    """
    if (here := _handling) is None:
        yield
        return
    here.is_deferred, here.grace = True, grace
    try:
        yield
    finally:
        waited = 0.0 if here.received is None else time.monotonic() - here.since
        here.is_deferred, here.grace = False, GRACE_SECONDS + waited
    if here.received is not None:
        raise StoppedBySignal(here.received)


def handle_also(name: str) -> None:
    """Handle a further signal as those two, such as the one that a scheduler sends before it ends a job.

    Args:
        name: Its name; one that the system does not have is left out.
    """
    if _handling is not None and hasattr(signal, name):
        _handling.add(signal.Signals[name])


def install() -> None:
    """Take the signals back from a library that put handlers of its own in place."""
    if _handling is not None:
        _handling.install()


def pass_on_to(launched: Launched) -> None:
    """Send a signal to further processes as well, which handle it themselves; the list is emptied then."""
    if _handling is not None:
        _handling.launched = launched


def _before_fork() -> None:
    if _handling is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _handling.signals)


def _after_fork_in_parent() -> None:
    if _handling is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handling.signals)


def _after_fork_in_child() -> None:
    global _handling
    if _handling is not None:
        blocked, _handling = _handling.signals, None
        signal.set_wakeup_fd(-1)
        in_loader_process()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
