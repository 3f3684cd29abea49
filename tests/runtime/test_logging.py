import io
import logging
import sys
from collections.abc import Iterator

import pytest

from cutler_pl.runtime.logging import ROOT_NAME, configure_logging, get_logger


@pytest.fixture(autouse=True)
def _restore_root() -> Iterator[None]:
    root = logging.getLogger(ROOT_NAME)
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    root.handlers.clear()
    yield
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    return monkeypatch


def test_line_has_time_level_and_the_message_unwrapped(rank: object, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    message = "wrote " + "a long folder/" * 40 + "file.json"
    get_logger("cutler_pl.test_line").info(message)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f" I {message}\n")
    assert err.count("\n") == 1


def test_configuring_twice_says_everything_once(rank: object, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    get_logger("cutler_pl.test_twice").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_equal_loggers_have_one_filter() -> None:
    first = get_logger("cutler_pl.test_same")
    assert get_logger("cutler_pl.test_same") is first
    assert len(first.filters) == 1


def test_other_ranks_keep_quiet_unless_something_is_wrong(
    rank: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    logger = get_logger("cutler_pl.test_ranks")
    rank.setenv("RANK", "3")
    logger.info("same for all")
    logger.warning("only here")
    err = capsys.readouterr().err
    assert "same for all" not in err
    assert "only here" in err


def test_level_hides_details(rank: object, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.WARNING)
    get_logger("cutler_pl.test_level").info("a detail")
    assert capsys.readouterr().err == ""


def test_log_follows_standard_error_when_it_is_exchanged(rank: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logging()
    sys.stderr.close()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    get_logger("cutler_pl.test_exchange").info("still heard")
    assert "still heard" in later.getvalue()


def test_logs_of_other_packages_are_left_alone(rank: object, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    configure_logging()
    assert logging.getLogger().handlers == before
    logging.getLogger("somebody_else").info("not ours")
    assert "not ours" not in capsys.readouterr().err


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    get_logger("cutler_pl.tests").warning("%s", "\x1b]0;title\x07.jpg\x9b")
    assert capsys.readouterr().err.endswith(r" W \x1b]0;title\x07.jpg\x9b" + "\n")
