import os
import time
from pathlib import Path

from cutler_pl.web.demo.work_folder import WorkFolder, work_folder


def test_old_files_are_removed(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    old, new, example = work.new_result() / "a.jpg", work.new_result() / "a.jpg", work.examples / "a.png"
    example.parent.mkdir()
    for path in (old, new, example):
        path.touch()
    past = time.time() - 100
    for path in (old, old.parent, example):
        os.utime(path, (past, past))
    work.remove_old(50.0)
    assert (old.exists(), new.exists(), example.exists()) == (False, True, True)


def test_size_counts_all_files(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    before = work.size()
    (tmp_path / "a.bin").write_bytes(bytes(10_000))
    assert work.size() == before + 10_000


def test_folder_is_removed_on_leaving() -> None:
    with work_folder(60.0) as work:
        (work.new_result() / "a.jpg").touch()
    assert not work.root.exists()
