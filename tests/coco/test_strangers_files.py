"""Annotation files from strangers: one sentence whatever they hold, and no crash of compiled code.

All readers run in another process, since a crash or a hang of native code would end the tests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import file_names, load_coco
from cutler_pl.coco.bounds import MAX_ID, Bounds, can_rasterise, outline_length, polygons_error
from cutler_pl.coco.index import open_index
from cutler_pl.coco.rle import have_pixels, to_rle
from cutler_pl.errors import AnnotationError
from cutler_pl.self_training import merge_annotations

FUZZ = Path(__file__).resolve().parents[1] / "fuzz.py"
HEIGHT, WIDTH = 20, 30
FAR = [2, 3, 1e9, 3, 1e9, 9]
COIL = [coordinate for i in range(9000) for coordinate in ((0, 0) if i % 2 else (WIDTH, HEIGHT))]
OF_FILES = ("load", "index", "split", "self_train", "evaluate")


def coco(**changed: Any) -> dict[str, Any]:
    """A valid file; `image_…`, `annotation_…` and `category_…` change a field of a record."""
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 8, 6], "area": 48, "iscrowd": 0,
                "segmentation": [[2, 3, 10, 3, 10, 9, 2, 9]],
            }
        ],
        "categories": [{"id": 1, "name": "fg"}],
    }  # fmt: skip
    lists = {"image": "images", "annotation": "annotations", "category": "categories"}
    for name, value in changed.items():
        record, _, field = name.partition("_")
        content[lists[record]][0][field] = value
    return content


def run_lengths(size: list[Any], counts: Any) -> dict[str, Any]:
    return {"size": size, "counts": counts}


CASES: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "polygon 1e9": (coco(annotation_segmentation=[FAR]), ("load", "index", "self_train", "evaluate"), "1e+09, far"),
    "polygon 1e300": (
        coco(annotation_segmentation=[[2, 3, 1e300, 3, 8, -1e300]]),
        ("load", "index", "self_train", "evaluate"),
        "far outside its image of 20×30 pixels",
    ),
    "long polygon": (
        coco(annotation_segmentation=[COIL]),
        ("load", "index", "self_train", "evaluate"),
        "whose outlines are",
    ),
    "box 1e300": (
        coco(annotation_bbox=[0, 0, 1e300, 1e300], annotation_segmentation=None),
        ("load", "index", "self_train", "evaluate"),
        "has the box [0, 0, 1e+300, 1e+300], far outside",
    ),
    "mask of 1e10": (
        coco(annotation_segmentation=run_lengths([10**10, 10**10], "0")),
        ("load", "index", "self_train", "evaluate"),
        "annotation 1 has run lengths of 10000000000×10000000000 pixels",
    ),
    "mask of 400 digits": (
        coco(annotation_segmentation=run_lengths([10**400, 1], [10**400])),
        ("load", "index", "self_train", "evaluate"),
        "an integer of about 400 digits",
    ),
    "negative counts": (
        coco(annotation_segmentation=run_lengths([HEIGHT, WIDTH], [-5, 605])),
        ("load", "index", "self_train", "evaluate"),
        "do not add up",
    ),
    "image id 2^63": (coco(image_id=2**63), OF_FILES, "no integer id within 64 bits, but 9223372036854775808"),
    "image id of 400 digits": (coco(image_id=10**400), OF_FILES, "within 64 bits, but an integer of about 400 digits"),
    "image of 1e10": (coco(image_height=10**10), OF_FILES, "10000000000×30 pixels"),
    "annotation id 2^63": (coco(annotation_id=2**63), ("load", "index", "self_train", "evaluate"), "within 64 bits"),
    "area of 400 digits": (
        coco(annotation_area=10**400),
        ("load", "index", "self_train", "evaluate"),
        "area an integer of about 400 digits, not a number",
    ),
    "file name with zero": (coco(image_file_name="a\0.jpg"), OF_FILES, "which no file can have"),
    "file name of surrogates": (coco(image_file_name="\ud800.jpg"), OF_FILES, "which no file can have"),
    "file name of a megabyte": (coco(image_file_name="a/" * 500_000), OF_FILES, "file_name of 1,000,000 characters"),
    "category of surrogates": (
        coco(category_name="\udfff"),
        ("load", "index", "self_train", "evaluate"),
        "category 1 has the name '\\udfff'",
    ),
    "annotations are a number": (coco() | {"annotations": 5}, OF_FILES, 'the list "annotations"'),
    "images are an object": (coco() | {"images": {}}, OF_FILES, 'the list "images"'),
    "a string for the file": ("/etc/passwd", OF_FILES, "expected a COCO object"),
    "a number for the file": (5, OF_FILES, "expected a COCO object"),
}
TEXTS: dict[str, tuple[str, str]] = {
    "5,000 digits": (json.dumps(coco(image_id=77)).replace("77", "7" * 5000), "more than 4,300 digits"),
    "nested deeply": (json.dumps(coco(image_id="x")).replace('"x"', "[" * 5000 + "]" * 5000), "nested too deeply"),
    "cut": (json.dumps(coco())[:-30], "JSON"),
    "two values": (json.dumps(coco()) + "{}", "JSON"),
    "number for a key": ('{5: 1, "images": []}', "JSON"),
    "list for a key": ('{[1]: 1, "images": []}', "JSON"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each reader says of each file."""
    folder = tmp_path_factory.mktemp("files")
    texts = {name: json.dumps(content) for name, (content, *_) in CASES.items()} | {n: t for n, (t, _) in TEXTS.items()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return run("--files", *(str(folder / name) for name in texts), folder=folder / "case")


def run(*arguments: str, folder: Path) -> Any:
    command = [sys.executable, str(FUZZ), "coco", "--folder", str(folder), *arguments]
    root = FUZZ.parents[1]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = {}
    for line in ended.stdout.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


@pytest.mark.parametrize("name", CASES)
def test_refuse_in_one_sentence(said: dict[str, dict[str, str]], name: str) -> None:
    _, readers, sentence = CASES[name]
    for reader in readers:
        assert sentence in said[name][reader], reader
        assert "case.json" in said[name][reader], reader
        assert "; " in said[name][reader], reader


@pytest.mark.parametrize("name", TEXTS)
def test_refuse_text_that_is_no_json(said: dict[str, dict[str, str]], name: str) -> None:
    for reader in OF_FILES:
        assert TEXTS[name][1] in said[name][reader], reader


@pytest.mark.slow
def test_fuzz_readers_of_coco_files(tmp_path: Path) -> None:
    """`python tests/fuzz.py --minutes 5 coco` runs longer."""
    run("--examples", "60", folder=tmp_path)


@pytest.mark.parametrize(
    ("polygon", "fits"),
    [
        ([0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT], True),
        ([-3.5, 2, WIDTH + 4, 3, 8, HEIGHT + 0.01], True),
        ([-300, 2, 300, 3, 330, 5], True),
        ([-301, 2, 300, 3, 330, 5], False),
        ([0, 2, 300, 3, 331, 5], False),
        (COIL, False),
    ],
)
def test_bound_polygons_by_image(polygon: list[float], fits: bool) -> None:
    assert (polygons_error([polygon], HEIGHT, WIDTH, Bounds.current()) is None) is fits
    assert polygons_error([polygon], HEIGHT, WIDTH, Bounds.current()) is None or can_rasterise([polygon])


def test_outline_counts_pixel_steps() -> None:
    assert outline_length([0, 0, 3, 0, 3, 4, 0, 4]) == 14
    assert outline_length([0, 0, 3, 3]) == 6


@pytest.mark.parametrize("polygon", [FAR, [0, 0, float("nan"), 1, 2, 2], [0, 0, 1e300, 0, 0, 5], COIL * 100])
def test_rasterise_nothing_out_of_bounds(polygon: list[float]) -> None:
    """The last check before pycocotools, whatever was checked before."""
    with pytest.raises(AnnotationError, match="polygons lie too far outside their image"):
        to_rle([polygon], HEIGHT, WIDTH)
    with pytest.raises(AnnotationError, match="polygons lie too far outside their image"):
        have_pixels([[polygon]], [(HEIGHT, WIDTH)])
    with pytest.raises(AnnotationError, match="do not add up"):
        to_rle({"size": [HEIGHT, WIDTH], "counts": [5]}, HEIGHT, WIDTH)


def test_index_checks_names(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(image_file_name="../x/a.jpg")))
    index = open_index(path)
    index.check_names(tmp_path / "x", path)
    with pytest.raises(AnnotationError, match=r"a\.json: image 1 has the file_name '\.\./x/a\.jpg', which leads out"):
        index.check_names(tmp_path / "images", path)


def test_damaged_index_names_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco()))
    folder = open_index(path).folder
    for name, content in (("facts.json", b"[5]"), ("areas.npy", b"x"), ("facts.json", b"{"), ("facts.json", b"\xff")):
        (folder / name).write_bytes(content)
        with pytest.raises(AnnotationError, match=f"{folder}: damaged index .* remove this folder"):
            open_index(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("areas", np.zeros(1, dtype=np.float32)),
        ("areas", np.zeros(2)),
        ("sizes_hw", np.zeros((1, 3), dtype=np.int64)),
        ("image_ids", np.zeros((), dtype=np.int64)),
        ("object_offsets", np.array([0, 5])),
        ("name_offsets", np.array([-1, 5])),
        ("mask_offsets", np.zeros(0, dtype=np.int64)),
    ],
)
def test_index_of_other_arrays_is_damaged(tmp_path: Path, name: str, array: np.ndarray) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco()))
    folder = open_index(path).folder
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(AnnotationError, match=f"{folder}: damaged index .* remove this folder"):
        open_index(path)


def test_merge_keeps_valid_record_of_two(tmp_path: Path) -> None:
    """With `on_error="skip"`, of two records of one id the invalid one is never written."""
    previous = coco()
    previous["annotations"] = [{**previous["annotations"][0], "image_id": 9}, previous["annotations"][0]]
    merged = merge_annotations(previous, [], 0.5, on_error="skip")
    assert merged["annotations"] == coco()["annotations"]


def test_merge_has_no_ids_left() -> None:
    mask = to_rle([[2, 3, 10, 3, 10, 9, 2, 9]], HEIGHT, WIDTH)
    result = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 8, 6], "score": 0.9, "segmentation": mask}
    with pytest.raises(AnnotationError, match="no number is left above annotation id"):
        merge_annotations(coco(annotation_id=MAX_ID), [result], 0.5)


def test_address_without_path_is_no_name() -> None:
    for address in ("http://[", "http://example.org", ""):
        assert file_names.file_name({"coco_url": address}) is None
    content = coco(image_coco_url="http://[")
    del content["images"][0]["file_name"]
    with pytest.raises(AnnotationError, match="image 1 has neither file_name nor coco_url"):
        load_coco(content)


def test_annotation_far_and_empty_is_dropped(tmp_path: Path) -> None:
    """An annotation without area inside its image is left out as before, however far away it is."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(annotation_bbox=[1e5, 3, 8, 6], annotation_segmentation=[FAR])))
    assert open_index(path).num_dropped == 1
    assert len(load_coco(path).dropped) == 1
