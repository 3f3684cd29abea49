"""The run fails where a golden test was skipped, since there are always numbers; a missing GPU is an excuse."""

import os
import subprocess
import sys
from pathlib import Path

import golden_set
import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

@pytest.mark.golden
def test_compared(golden_dir):
    pass

@pytest.mark.gpu
@pytest.mark.golden
def test_compared_on_a_gpu(golden_dir):
    pass

@pytest.mark.golden
def test_forgotten():
    pytest.skip("later")
"""


def test_golden_tests_are_skipped_only_without_gpu(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = pytester.path / "golden"
    (golden / "detector").mkdir(parents=True)
    monkeypatch.setenv("CUTLER_GOLDEN", str(golden))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    markers = "markers =\n    golden: numbers of the original\n    gpu: needs a GPU\n"
    pytester.makeini(f"[pytest]\npythonpath = {CONFTEST.parent}\n{markers}")
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=2)
    line = f"golden test skipped although its numbers are in {golden}: "
    assert [text.split("::")[-1] for text in result.outlines if text.startswith(line)] == ["test_forgotten"]


def test_compact_set_stays_small() -> None:
    """It is committed: at most 10 MB, and no image file in it."""
    files = [path for path in golden_set.COMPACT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert not [path.name for path in files if path.suffix.lower() in (".jpg", ".jpeg", ".png")]


def test_missing_golden_folder_is_named(tmp_path: Path) -> None:
    """A wrong $CUTLER_GOLDEN is an error, not a silent change to another set."""
    environment = os.environ | {"CUTLER_GOLDEN": str(tmp_path), "PYTHONPATH": str(CONFTEST.parent)}
    run = subprocess.run(
        [sys.executable, "-c", "import golden_set"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"CUTLER_GOLDEN={tmp_path} is no folder of golden numbers" in run.stderr
