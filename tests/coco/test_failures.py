import logging
import os
from pathlib import Path

import pytest

from cutler_pl.coco.failures import Failure, Failures, read_failures, write_failures
from cutler_pl.errors import AnnotationError

LATIN_1 = os.fsdecode(b"gr\xf6\xdfe.jpg")


def test_failures_are_sorted_and_read_back(tmp_path: Path) -> None:
    reasons = {"b.jpg": "damaged", LATIN_1: f"{LATIN_1}: too small", "a/größe.jpg": "no such file"}
    write_failures(tmp_path / "failures.jsonl", reasons)
    assert list(read_failures(tmp_path / "failures.jsonl").items()) == sorted(reasons.items())


def test_no_failures_make_an_empty_file(tmp_path: Path) -> None:
    write_failures(tmp_path / "failures.jsonl", {})
    assert (tmp_path / "failures.jsonl").read_bytes() == b""


def test_read_failures_of_version_0_1(tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").write_text('{"file_name": "größe.jpg", "reason": "damaged"}\n', encoding="utf-8")
    assert read_failures(tmp_path / "failures.jsonl") == {"größe.jpg": "damaged"}


def test_log_each_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with caplog.at_level(logging.WARNING):
        failures.add([Failure("a.jpg", "a.jpg: broken"), Failure("b.jpg", "b.jpg: gone")])
        failures.add([Failure("a.jpg", "a.jpg: broken")])
    assert failures == {"a.jpg": "a.jpg: broken", "b.jpg": "b.jpg: gone"}
    assert caplog.text.count("a.jpg: broken") == 1


@pytest.mark.parametrize(
    "line", ["{", "[1]", "5", '{"file": 5, "reason": "x"}', '{"file": "a"}', "[" * 5000, "1" * 5000]
)
def test_damaged_failures_name_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_text('{"file": "a.jpg", "reason": "broken"}\n' + line + "\n")
    with pytest.raises(AnnotationError, match=r"failures\.jsonl, line 2: damaged .*; remove the file"):
        read_failures(path)
