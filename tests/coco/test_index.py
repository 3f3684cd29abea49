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

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutler_pl.coco import index, index_identity, load_coco, rle
from cutler_pl.coco.index import InstanceIndex, index_root, open_index
from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.errors import AnnotationError, DatasetNotFoundError, OutputWriteError
from cutler_pl.runtime.locks import file_lock

POLYGON = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.25], [6.0, 6.0, 9.0, 6.0, 9.0, 8.0, 6.0, 8.0]]


def mask(y0: int, y1: int, x0: int, x1: int, size_hw: tuple[int, int] = (8, 12)) -> np.ndarray:
    pixels = np.zeros(size_hw, dtype=bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


def annotation(id_: int, image_id: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    record = {
        "id": id_,
        "image_id": image_id,
        "category_id": 3,
        "bbox": [1.0, 1.0, 4.0, 3.0],
        "area": 12.0,
        "iscrowd": 0,
    }
    return {**record, "segmentation": segmentation, **more}


def small_coco() -> dict[str, Any]:
    crowd = {"size": [8, 12], "counts": [10, 6, 80]}
    return {
        "images": [
            {"id": 50, "file_name": "b/zwei.jpg", "height": 8, "width": 12},
            {"id": 7, "file_name": "a/ünö.jpg", "height": 8, "width": 12},
            {"id": 9, "file_name": "leer.jpg", "height": 30, "width": 20},
        ],
        "annotations": [
            annotation(1, 7, rle.encode(mask(1, 4, 1, 5))),
            annotation(2, 50, POLYGON, category_id=8),
            annotation(3, 7, crowd, iscrowd=1),
            annotation(4, 50, None, category_id=8),
        ],
        "categories": [{"id": 8, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def write(path: Path, coco: dict[str, Any]) -> Path:
    path.write_text(json.dumps(coco))
    return path


def test_the_index_holds_what_the_file_says(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "x.json", small_coco()))

    assert len(index) == 3
    assert list(index.file_names) == ["b/zwei.jpg", "a/ünö.jpg", "leer.jpg"]
    assert index.image_ids.tolist() == [50, 7, 9]
    assert index.size_hw(2) == (30, 20)
    assert index.categories == {3: "dog", 8: "cat"}
    assert list(index.categories) == [3, 8]
    assert index.count_objects().tolist() == [2, 1, 0]
    assert index.count_without_mask() == 1

    first, second, empty = (index.objects(i) for i in range(3))
    assert first.segmentations == [POLYGON, None]
    assert first.category_ids.tolist() == [8, 8]
    assert second.is_crowd.tolist() == [False, True]
    assert second.boxes_xywh.tolist() == [[1, 1, 4, 3]] * 2
    assert second.areas.tolist() == [12, 12]
    assert np.array_equal(rle.decode(second.segmentations[0]), mask(1, 4, 1, 5))
    assert rle.area(second.segmentations[1]) == 6
    assert empty.boxes_xywh.shape == (0, 4)
    assert empty.segmentations == []


def test_index_empty_file(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "x.json", {"images": [], "annotations": [], "categories": []}))
    assert len(index) == 0
    assert index.count_objects().tolist() == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(owners=st.lists(st.integers(0, 5), max_size=20), ids=st.permutations(range(6)))
def test_any_order_of_annotations_is_grouped_by_image(tmp_path: Path, owners: list[int], ids: list[int]) -> None:
    coco = small_coco()
    coco["images"] = [{"id": i, "file_name": f"{i}.jpg", "height": 8, "width": 12} for i in ids]
    coco["annotations"] = [annotation(n, o, None, area=float(n)) for n, o in enumerate(owners)]
    path = write(tmp_path / "x.json", coco)
    os.utime(path, ns=(0, time.time_ns()))
    index = open_index(path)
    for i, image_id in enumerate(ids):
        assert index.objects(i).areas.tolist() == [n for n, owner in enumerate(owners) if owner == image_id]


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


def test_annotations_without_area_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    coco = small_coco()
    coco["annotations"] += [
        annotation(11, 9, POLYGON, bbox=[3, 3, 0, 5]),
        annotation(12, 9, rle.encode(mask(0, 0, 0, 0, (30, 20)))),
        annotation(13, 9, [[2.0, 2.0, 2.0, 2.0, 2.0, 2.0]]),
        annotation(14, 9, []),
    ]
    index = open_index(write(tmp_path / "x.json", coco))
    assert index.count_objects().tolist() == [2, 1, 0]
    assert index.num_dropped == 4
    assert "left out 4 without area" in caplog.text


def test_exchanged_width_and_height_are_put_right(tmp_path: Path) -> None:
    coco = small_coco()
    coco["images"][1] |= {"height": 12, "width": 8}
    assert open_index(write(tmp_path / "x.json", coco)).size_hw(1) == (8, 12)


def test_polygons_of_swapped_images(tmp_path: Path) -> None:
    """Polygons are rasterised at the corrected size of their image."""
    coco = small_coco()
    coco["images"][1] |= {"height": 12, "width": 8}
    beyond = [[9.0, 1.0, 11.0, 1.0, 11.0, 3.0, 9.0, 3.0]]
    coco["annotations"].append(annotation(9, 7, beyond, bbox=[9.0, 1.0, 2.0, 2.0]))
    assert open_index(write(tmp_path / "x.json", coco)).count_objects().tolist() == [2, 2, 0]


def test_annotations_may_come_before_their_images(tmp_path: Path) -> None:
    coco = small_coco()
    first = open_index(write(tmp_path / "a.json", coco))
    second = open_index(write(tmp_path / "b.json", {"annotations": coco["annotations"], **coco}))
    for i in range(3):
        assert first.objects(i).segmentations == second.objects(i).segmentations
        assert first.objects(i).boxes_xywh.tolist() == second.objects(i).boxes_xywh.tolist()


INVALID = {
    r"image id \d+ occurs more than once": {"images": small_coco()["images"] * 2},
    "annotation id 1 occurs more than once": {"annotations": small_coco()["annotations"] * 2},
    "category id 8 occurs more than once": {"categories": small_coco()["categories"] * 2},
    "annotation 1 has the unknown category 3": {"categories": small_coco()["categories"][:1]},
    r"annotation 5 \(image 9\) has a mask of 8×12 pixels, but image 9 has 30×20": {
        "annotations": [annotation(5, 9, rle.encode(mask(1, 4, 1, 5)))]
    },
    "annotation 5 has the box None": {"annotations": [annotation(5, 9, None, bbox=None)]},
    r"annotation 5 \(image 9\) has run lengths that do not add up": {
        "annotations": [annotation(5, 9, {"size": [30, 20], "counts": "zz"})]
    },
}


@pytest.mark.parametrize("sentence", INVALID)
def test_invalid_records_end_the_build(tmp_path: Path, sentence: str) -> None:
    path = write(tmp_path / "x.json", small_coco() | INVALID[sentence])
    with pytest.raises(AnnotationError, match=sentence):
        open_index(path)
    with pytest.raises(AnnotationError, match=sentence):
        load_coco(path)


def test_an_unknown_image_is_named(tmp_path: Path) -> None:
    coco = small_coco()
    coco["annotations"].append(annotation(11, 4711, POLYGON))
    path = write(tmp_path / "x.json", coco)
    with pytest.raises(AnnotationError, match=r"x\.json.*4711"):
        open_index(path)
    with pytest.raises(AnnotationError, match="4711"):  # nothing half done was taken for an index
        open_index(path)


def test_name_missing_or_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"nowhere\.json"):
        open_index(tmp_path / "nowhere.json")
    (tmp_path / "x.json").write_text("<html>")
    with pytest.raises(AnnotationError, match=r"x\.json.*not a COCO JSON"):
        open_index(tmp_path / "x.json")


def test_packed_strings_behave_like_a_list() -> None:
    strings = ["", "a", "äö", "日本", "not utf-8: \udcff", "z" * 300]
    packed = PackedStrings.pack(strings)
    assert list(packed) == strings
    assert packed[1:3] == ["a", "äö"]
    assert packed.index("日本") == 3
    assert len(PackedStrings.pack([])) == 0
    with pytest.raises(IndexError):
        packed[6]


def test_index_names_that_are_not_utf8(tmp_path: Path) -> None:
    coco = small_coco()
    coco["images"][0]["file_name"] = os.fsdecode(b"\xff\xfe.jpg")
    assert open_index(write(tmp_path / "x.json", coco)).file_names[0] == os.fsdecode(b"\xff\xfe.jpg")


def test_open_index_of_earlier_version(tmp_path: Path) -> None:
    """`index_e082497` was built from `small_coco` by commit e082497; the same file gives the same bytes today."""
    earlier = InstanceIndex(Path(__file__).with_name("index_e082497"))
    assert earlier.file_names[1] == "a/ünö.jpg"
    assert earlier.objects(0).segmentations == [POLYGON, None]
    today = open_index(write(tmp_path / "x.json", small_coco())).folder
    for file in earlier.folder.iterdir():
        assert file.read_bytes() == (today / file.name).read_bytes(), file.name


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["coco_mini/annotations/instances.json", "uvo_mini/DERIVED_rle_cls_agnostic_from_coco.json"]
)
def test_real_annotations_come_back_unchanged(data_dir: Path, tmp_path: Path, name: str) -> None:
    path = data_dir / name
    index = open_index(path, index_dir=tmp_path)
    coco = load_coco(path).coco
    for i, image in enumerate(coco["images"]):
        expected = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        objects = index.objects(i)
        assert index.file_names[i] == image["file_name"]
        assert objects.boxes_xywh.tolist() == [a["bbox"] for a in expected]
        assert objects.is_crowd.tolist() == [bool(a["iscrowd"]) for a in expected]
        for ours, theirs in zip(objects.segmentations, expected, strict=True):
            segmentation = theirs["segmentation"]
            size = image["height"], image["width"]
            assert ours == (segmentation if isinstance(segmentation, list) else rle.to_rle(segmentation, *size))


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
