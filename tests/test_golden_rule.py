"""The run fails where a golden test was skipped although the golden numbers are there; a missing GPU is an excuse."""

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
    ("chosen", "golden_is_there", "passes"),
    [("compared", True, True), ("forgotten", True, False), ("forgotten", False, True)],
)
def test_a_golden_test_is_skipped_only_with_an_excuse(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, chosen: str, golden_is_there: bool, passes: bool
) -> None:
    golden = pytester.path / "golden"
    if golden_is_there:
        golden.mkdir()
    monkeypatch.setenv("CUTLER_GOLDEN", str(golden))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pytester.makeini("[pytest]\nmarkers =\n    golden: numbers of the original\n    gpu: needs a GPU\n")
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-k", chosen, "-p", "no:cacheprovider")
    assert (result.ret == pytest.ExitCode.OK) is passes
    named = result.stdout.str().count(f"golden test skipped although {golden} is there: ")
    assert named == (0 if passes else 1)
