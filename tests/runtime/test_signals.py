"""A signal ends the process with one sentence and 128 + its number."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cutler_pl.runtime import signals

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "stopped by {}; the same command goes on from what is finished\n"

stop_signals = pytest.mark.parametrize("signum", signals.STOP_SIGNALS)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The handlers of the test runner, whatever a test does."""
    before = {signum: signal.getsignal(signum) for signum in signals.STOP_SIGNALS}
    yield
    signals.release()
    assert {signum: signal.getsignal(signum) for signum in signals.STOP_SIGNALS} == before


def process(code: str) -> "subprocess.Popen[str]":
    """A Python process that has printed a line."""
    code = f"import os, signal, time\nfrom cutler_pl.runtime import signals\n{code}"
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def exit_code(work: Callable[[], None]) -> object:
    """How a command ends that does some work."""

    def command() -> None:
        with signals.handled():
            signals.begin_work()
            work()

    with pytest.raises(SystemExit) as end:
        command()
    return end.value.code


@stop_signals
def test_signal_ends_work(signum: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signum)
            time.sleep(5)
        finally:
            cleaned.append(True)

    assert exit_code(work) == 128 + signum
    assert capsys.readouterr().err == SENTENCE.format(signum.name)
    assert cleaned


def test_errors_after_a_signal_are_its_consequence(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    assert exit_code(work) == 143
    assert capsys.readouterr().err == SENTENCE.format("SIGTERM")


def test_handlers_are_put_back_without_a_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.handled():
        assert signal.getsignal(signal.SIGTERM) != before
        assert signals.requested() is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_deferred_signal_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    reached = []

    def work() -> None:
        with signals.deferred(grace=60.0):
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.requested() == signal.SIGTERM
            reached.append("end of the step")
        reached.append("after it")

    assert exit_code(work) == 143
    assert reached == ["end of the step"]
    assert capsys.readouterr().err == SENTENCE.format("SIGTERM")


def test_own_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise signals.StoppedBySignal(signal.SIGINT, "resume=auto goes on from step 7")

    assert exit_code(work) == 130
    assert capsys.readouterr().err == "stopped by SIGINT; resume=auto goes on from step 7\n"


def test_no_handling_outside_commands() -> None:
    with signals.deferred(grace=1.0):
        signals.begin_work()
        signals.install()
    assert signals.requested() is None


@stop_signals
def test_start_ends_at_once(signum: signal.Signals) -> None:
    started = process("with signals.handled():\n    print('ready', flush=True)\n    time.sleep(30)")
    started.send_signal(signum)
    _, err = started.communicate(timeout=10)
    assert (started.returncode, err) == (128 + signum, SENTENCE.format(signum.name))


def test_stuck_process_ends() -> None:
    """An exception that is swallowed, and code that no handler interrupts."""
    started = process(
        "signals.GRACE_SECONDS = 0.5\n"
        "with signals.handled():\n"
        "    signals.begin_work()\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(30)\n"
        "        except BaseException:\n"
        "            pass\n"
    )
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=10)
    assert (started.returncode, err) == (143, SENTENCE.format("SIGTERM"))


def test_second_signal_ends_deferred_work() -> None:
    started = process(
        "signals._REPEATED_AFTER = 0.1\n"
        "with signals.handled():\n"
        "    signals.begin_work()\n"
        "    with signals.deferred(grace=60.0):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(30)\n"
    )
    for _ in range(2):
        started.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    _, err = started.communicate(timeout=10)
    assert (started.returncode, err) == (143, SENTENCE.format("SIGTERM"))


def test_launched_processes_get_the_signal() -> None:
    launched = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])]
    child = launched[0]

    def work() -> None:
        signals.pass_on_to(lambda: launched)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert exit_code(work) == 143
    assert child.returncode == -signal.SIGTERM
    assert not launched


def _ends_by_word(conn: "multiprocessing.connection.Connection") -> None:
    conn.send("ready")
    conn.recv()
    conn.send("still here")


@stop_signals
def test_loader_process_outlives_a_signal(signum: signal.Signals) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with signals.handled():
        child = context.Process(target=_ends_by_word, args=(there,))
        child.start()
        assert here.recv() == "ready"
        assert child.pid is not None
        os.kill(child.pid, signum)
        time.sleep(0.2)
        here.send("end")
        assert here.recv() == "still here"
        child.join()
        assert signals.requested() is None
