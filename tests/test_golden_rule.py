"""The run fails where a golden test was skipped, since there are always numbers; a missing GPU is an excuse."""

from pathlib import Path

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


@pytest.mark.parametrize(
    ("chosen", "passes", "workers"),
    [("compared", True, "0"), ("forgotten", False, "1")],
)
def test_golden_tests_are_skipped_only_without_gpu(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, chosen: str, passes: bool, workers: str
) -> None:
    golden = pytester.path / "golden"
    (golden / "detector").mkdir(parents=True)
    monkeypatch.setenv("CUTLER_GOLDEN", str(golden))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    markers = "markers =\n    golden: numbers of the original\n    gpu: needs a GPU\n"
    pytester.makeini(f"[pytest]\npythonpath = {CONFTEST.parent}\n{markers}")
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-k", chosen, "-p", "no:cacheprovider", "-n", workers)
    assert (result.ret == pytest.ExitCode.OK) is passes
    named = result.stdout.str().count(f"golden test skipped although its numbers are in {golden}: ")
    assert named == (0 if passes else 1)
