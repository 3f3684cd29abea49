import errno
import json
import os
from pathlib import Path

import pytest

from cutler_pl.errors import OutputWriteError
from cutler_pl.runtime.files import atomic_write, file_digest, wrap_os_errors, write_bytes, write_json, write_text


def test_create_parent_folders_only(tmp_path: Path) -> None:
    """No temporary file is left beside the new one."""
    target = tmp_path / "my images (1), new" / "[a]" / "x.txt"
    write_text(target, "grün\n")
    assert target.read_bytes() == "grün\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_old_file_stays_until_replaced(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with atomic_write(target) as temporary:
        temporary.write_text("half of the new")
        assert target.read_text() == "old"
        assert temporary.parent == target.parent  # a rename across file systems would not be atomic
    assert target.read_text() == "half of the new"


@pytest.mark.parametrize("exists_before", [True, False])
def test_failure_leaves_the_old_file_and_no_temporary(tmp_path: Path, exists_before: bool) -> None:
    target = tmp_path / "x.txt"
    if exists_before:
        target.write_text("old")

    def fail_half_way() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_half_way()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"] * exists_before


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    """A body that writes nothing does not leave an empty file."""
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_temporary_file_is_hidden(tmp_path: Path) -> None:
    """The temporary file has no suffix that readers of the folder look for."""
    with atomic_write(tmp_path / "shard.json") as temporary:
        temporary.write_text("{}")
        assert temporary.name.startswith(".")
        assert list(tmp_path.glob("*.json")) == []


def test_permissions_follow_the_users_mask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "x.txt", "")
    assert (tmp_path / "x.txt").stat().st_mode == plain.stat().st_mode


def test_bytes_are_written_as_given(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.bin", b"\x00\r\n\xff")
    assert (tmp_path / "x.bin").read_bytes() == b"\x00\r\n\xff"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_full_or_protected_disk_is_named(tmp_path: Path, code: int) -> None:
    """The error of a full or protected disk names the file and the way out."""

    def fail() -> None:
        with atomic_write(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code))

    expected = rf"x\.json: cannot be written \({os.strerror(code)}\); free space or choose another output folder"
    with pytest.raises(OutputWriteError, match=expected):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_other_system_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), wrap_os_errors(tmp_path):
        tmp_path.read_text()


@pytest.mark.parametrize("length", [240, 255])
def test_long_name_is_written(tmp_path: Path, length: int) -> None:
    write_text(tmp_path / ("ü" * (length // 2)), "a")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["file/a.json", "file/b/a.json", "folder", "x" * 256])
def test_impossible_place_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputWriteError, match=f"{tmp_path}/{name}: .*choose another"):
        write_json(tmp_path / name, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_json_on_one_line(tmp_path: Path) -> None:
    """JSON ends in one newline."""
    write_json(tmp_path / "x.json", {"b": [1, 2.5, None, True], "a": "ü\udce9"})
    text = (tmp_path / "x.json").read_text()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert json.loads(text) == {"b": [1, 2.5, None, True], "a": "ü\udce9"}


def test_equal_json_has_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_json(tmp_path / name, {"z": 0.1 + 0.2, "a": [1e-300, 2**60]}, indent=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not any(line.endswith(b" ") for line in (tmp_path / "a").read_bytes().splitlines())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_nan(tmp_path: Path, value: float) -> None:
    """NaN is refused, and the old file stays."""
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", [value])
    assert json.loads((tmp_path / "x.json").read_text()) == [1]


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_write_text_keeps_bytes_of_file_names(tmp_path: Path) -> None:
    write_text(tmp_path / "a", os.fsdecode(b"\xff.jpg"))
    assert (tmp_path / "a").read_bytes() == b"\xff.jpg"
