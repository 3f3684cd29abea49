"""Fixtures every test may use: where the golden numbers and the small sets of real images lie."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch
from golden_set import GOLDEN
from hypothesis import settings
from PIL import Image

from cutler_pl.commands.config_store import register_params

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CUTLER_DATA") or ROOT.parent / "shared" / "data")


# The same examples in every run, and no time limit for one: CI machines are slow now and then.
settings.register_profile("cutler_pl", deadline=None, derandomize=True)
settings.load_profile("cutler_pl")


@pytest.fixture(scope="session", autouse=True)
def _params_group() -> None:
    """The group `params` of the config tree, for tests that compose configs."""
    register_params()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of numbers computed with the original implementation: the large set, else the compact one."""
    return GOLDEN


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small sets of real images with annotations; of scikit-image's sample images where there are none."""
    return DATA if DATA.is_dir() else small_sets.write(tmp_path_factory.mktemp("data"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of label files that are neither there nor made from scikit-image's sample images."""
    names = {path.name for path in DATA.iterdir()} if DATA.is_dir() else set(small_sets.NAMES)
    needed = {item: mark.args for item in items if (mark := item.get_closest_marker("real_data"))}
    lacking = [item for item, sets in needed.items() if not names.issuperset(sets)]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in set(lacking)]


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Factory of small image files: `write_image("a/b.jpg", (height, width))`."""

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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember golden tests that were skipped for another reason than a missing GPU: that is a failure."""
    needs_gpu = "gpu" in report.keywords and not torch.cuda.is_available()
    if report.skipped and "golden" in report.keywords and not needs_gpu:
        _skipped_golden.append(report.nodeid)


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
        terminalreporter.write_line(f"golden test skipped although its numbers are in {GOLDEN}: {nodeid}", red=True)
