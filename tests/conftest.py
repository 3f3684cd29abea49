"""Fixtures every test may use: where the golden numbers and the small real photo sets lie, and one tolerance table."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from cutler_pl.commands.config_store import register_params

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(os.environ.get("CUTLER_GOLDEN", ROOT.parent / "shared" / "golden"))
DATA = Path(os.environ.get("CUTLER_DATA", ROOT.parent / "shared" / "data"))


# The same examples in every run, and no time limit for one: CI machines are slow now and then.
settings.register_profile("cutler_pl", deadline=None, derandomize=True)
settings.load_profile("cutler_pl")


@pytest.fixture(scope="session", autouse=True)
def _params_group() -> None:
    """The group `params` of the config tree, for tests that compose configs."""
    register_params()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of numbers computed with the original implementation."""
    if not GOLDEN.is_dir():
        pytest.skip(f"golden numbers not found at {GOLDEN}; set CUTLER_GOLDEN to run this test")
    return GOLDEN


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of small real photo sets with ground truth."""
    if not DATA.is_dir():
        pytest.skip(f"real photo sets not found at {DATA}; set CUTLER_DATA to run this test")
    return DATA


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Factory of small photo files: `write_image("a/b.jpg", (height, width))`."""

    def write(
        name: str, size_hw: tuple[int, int] = (48, 64), *, seed: int = 0, mode: str = "RGB", **save: object
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **save)
        return path

    return write


@pytest.fixture(autouse=True)
def _same_seed_everywhere() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _same_logging_everywhere() -> Iterator[None]:
    """What a test configures, as commands do, is undone: no other test sees its messages."""
    logger = logging.getLogger("cutler_pl")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def _lacks_hardware(item: pytest.Item) -> bool:
    return item.get_closest_marker("gpu") is not None and not torch.cuda.is_available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs hardware that is not there."""
    if _lacks_hardware(item):
        pytest.skip("needs a CUDA device: runs where torch.cuda.is_available()")


_skipped_golden: list[str] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember golden tests that were skipped although the golden folder is there: that is a failure."""
    outcome = yield
    report = outcome.get_result()
    needless = GOLDEN.is_dir() and not _lacks_hardware(item)
    if report.skipped and needless and item.get_closest_marker("golden"):
        _skipped_golden.append(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for each golden test that was skipped without need."""
    if _skipped_golden:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--deviations`."""
    parser.addoption("--deviations", action="store_true", help="print how far golden tests stay from what they allow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the golden tests that were skipped without need, and print deviations on request."""
    if config.getoption("--deviations"):
        import deviations  # not above: this file alone is tested, too

        for line in deviations.table():
            terminalreporter.write_line(line)
    for nodeid in _skipped_golden:
        terminalreporter.write_line(f"golden test skipped although {GOLDEN} is there: {nodeid}", red=True)
