"""Results kept from an earlier run are taken only whole; anything else is made anew with a warning."""

import logging
from pathlib import Path

import pytest

from cutler_pl.commands.result_cache import read_cached, read_record, write_cached

SETTINGS = {"a": 1, "list": (1, 2), "classes": {3: "x"}}


def test_keep_result_of_same_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "result.json"
    assert read_cached(path, SETTINGS) is None
    write_cached(path, SETTINGS, result={"ap": 1.5, "curves": {7: (1, None)}})
    found = read_cached(path, SETTINGS)
    assert found is not None
    assert found["result"] == {"ap": 1.5, "curves": {"7": [1, None]}}
    assert read_cached(path, SETTINGS | {"a": 2}) is None
    assert not caplog.records


@pytest.mark.parametrize("change", ["1.5 → NaN", '1.5 → "x"', "1.5 → 2.5", '"ap" → "pa"', '"digest" → "d"'])
def test_changed_result_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str) -> None:
    path = tmp_path / "result.json"
    write_cached(path, SETTINGS, result={"ap": 1.5})
    path.write_text(path.read_text().replace(*change.split(" → ")))
    assert read_cached(path, SETTINGS) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{path}: was changed since it was written; made anew" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[5]", b"null", b"5", b"\xff", b'{"a":' * 2000, b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"],
    ids=["empty", "cut", "list", "null", "number", "bytes", "deep", "deeper", "digits"],
)
def test_damaged_record_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path = tmp_path / "stage.json"
    path.write_bytes(content)
    assert read_record(path) is None
    assert read_cached(path, SETTINGS) is None
    assert caplog.text.count(f"{path}: damaged (") == 2


def test_folder_is_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_record(tmp_path) is None
    assert "damaged (Is a directory)" in caplog.text
