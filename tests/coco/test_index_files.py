import json
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.coco import index, index_identity
from cutler_pl.coco.index import InstanceIndex, index_root, open_index
from cutler_pl.errors import AnnotationError, OutputWriteError
from cutler_pl.runtime.locks import file_lock

from .small_coco import POLYGON, small_coco, write


def test_rebuild_index_of_changed_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An index is built once, and again when the file changes."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "x.json", small_coco())
    first = open_index(path)
    assert open_index(path).folder == first.folder
    assert caplog.text.count("indexed 3 images") == 1

    coco = small_coco()
    del coco["images"][2]
    write(path, coco)
    second = open_index(path)
    assert len(second) == 2
    assert not first.folder.exists()
    assert first.file_names[2] == "leer.jpg"  # who has the old one open keeps it


def same_size_and_time(path: Path, coco: dict[str, Any], *, replace: bool) -> None:
    """Write other content of the same size and modification time, into the file or in its place."""
    before = path.stat()
    target = path.with_suffix(".new") if replace else path
    write(target, coco)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(path)
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


@pytest.mark.parametrize("replace", [False, True])
def test_changed_content_of_same_size_and_time(tmp_path: Path, replace: bool) -> None:
    path = write(tmp_path / "x.json", small_coco())
    open_index(path)
    coco = small_coco()
    coco["images"][2]["file_name"] = "voll.jpg"
    same_size_and_time(path, coco, replace=replace)
    assert open_index(path).file_names[2] == "voll.jpg"


def test_copy_keeps_index_by_its_digest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file put back as it was is read once for its digest, and not indexed again."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "x.json", small_coco())
    first = open_index(path).folder
    same_size_and_time(path, small_coco(), replace=True)
    digests = []
    digest = index_identity.file_digest
    monkeypatch.setattr(index_identity, "file_digest", lambda path: digests.append(path) or digest(path))
    assert [open_index(path).folder for _ in range(3)] == [first] * 3
    assert digests == [path]
    assert caplog.text.count("indexed 3 images") == 1


def test_index_without_digest_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An index of an earlier version does not say what it was built from."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "x.json", small_coco())
    (open_index(path).folder / index_identity.SOURCE_NAME).unlink()
    assert len(open_index(path)) == 3
    assert caplog.text.count("indexed 3 images") == 2


def test_file_that_changes_during_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.json", small_coco())
    digest = index.file_digest

    def grow(path: Path) -> str:
        path.write_text(path.read_text() + " ")
        return digest(path)

    with monkeypatch.context() as patch:
        patch.setattr(index, "file_digest", grow)
        with pytest.raises(AnnotationError, match="changed while it was indexed"):
            open_index(path)
    assert len(open_index(path)) == 3


def test_waiting_process_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "x.json", small_coco())
    with ThreadPoolExecutor(1) as pool:
        with file_lock(index_root(path), purpose="index"):
            waiting = pool.submit(open_index, path)
            while "this one waits" not in caplog.text:
                assert not waiting.done()
                time.sleep(0.01)
        assert len(waiting.result()) == 3
    assert f"{path}: another process builds or checks its index; this one waits" in caplog.text


def test_a_build_that_was_killed_is_done_again(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", small_coco())
    half = index_root(path) / ".building"
    half.mkdir(parents=True)
    (half / "facts.json").write_text("{")
    assert len(open_index(path)) == 3
    assert not half.exists()


def test_index_of_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index lies beside its file, or in the temporary folder where that is read-only."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    folder = tmp_path / "annotations"
    folder.mkdir()
    path = write(folder / "x.json", small_coco())
    assert index_root(path).parent == folder
    assert (tmp_path / "mine") in open_index(path, index_dir=tmp_path / "mine").folder.parents
    folder.chmod(0o555)
    try:
        assert (tmp_path / "temporary") in open_index(path).folder.parents
        assert [p.name for p in folder.iterdir()] == ["x.json"]
    finally:
        folder.chmod(0o755)


def test_equal_names_have_own_indices(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write(tmp_path / name / "x.json", small_coco()))
    places = [index_root(path, index_dir=tmp_path / "all") for path in paths]
    assert places[0] != places[1]


def test_processes_that_start_together_share_one_build(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", small_coco())
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        indices = list(pool.map(open_index, [path] * 3))
    assert len({index.folder for index in indices}) == 1
    assert indices[0].objects(0).segmentations[0] == POLYGON


def test_it_pickles_as_its_path(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "x.json", small_coco()))
    data = pickle.dumps(index)
    assert len(data) < 1000
    assert pickle.loads(data).file_names[1] == "a/ünö.jpg"


def test_index_holds_what_earlier_ones_did(tmp_path: Path) -> None:
    """`index_e082497` was built from `small_coco` by commit e082497; scores, which it lacks, came later."""
    earlier, today = Path(__file__).with_name("index_e082497"), open_index(write(tmp_path / "x.json", small_coco()))
    for file in earlier.iterdir():
        assert file.read_bytes() == (today.folder / file.name).read_bytes(), file.name
    with pytest.raises(AnnotationError, match=r"damaged index .*scores.npy"):
        InstanceIndex(earlier)


def test_full_disk_leaves_no_index(tmp_path: Path) -> None:
    """The same command goes on afterwards."""
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "height": 9, "width": 9}
    annotations = [{**box, "id": number} for number in range(300)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OutputWriteError, match=r"a\.json\.index: the index of a\.json cannot .*free space"):
            open_index(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {file.name for file in tmp_path.rglob("*")} <= {"a.json", ".a.json.index", ".lock"}
    assert len(open_index(path)) == 1


def test_refused_file_leaves_no_index(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    image = {"id": 1, "file_name": "a.png", "height": 9, "width": 9}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, "five"], "area": 25, "iscrowd": 0}
    path.write_text(json.dumps({"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "a"}]}))
    with pytest.raises(AnnotationError):
        open_index(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["a.json"]
