"""Confidence maps in annotations: their form, what is refused, and the index that carries them."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cutler_pl.coco import load_coco
from cutler_pl.coco.confidence import (
    ConfidenceMap,
    confidence_error,
    crop_map,
    decode,
    encode,
    pack,
    unpack,
)
from cutler_pl.coco.index import open_index
from cutler_pl.errors import AnnotationError
from cutler_pl.self_training import merge_annotations
from cutler_pl.self_training.merge_files import merge_files

from .coco_records import annotation, coco, detection
from .small_coco import write

BOX = (4.0, 2.0, 8.0, 4.0)
VALUES = np.array([[255, 0], [128, 51]], dtype=np.uint8)


def packed(values: bytes) -> str:
    return base64.b64encode(zlib.compress(values)).decode()


def test_rows_and_text_mean_the_same() -> None:
    """8 bits: 0.5 becomes 128, 0.2 becomes 51."""
    rows = {"size": [2, 2], "bbox": [4, 2, 8, 4], "values": [[1, 0], [0.5, 0.2]]}
    text = {"size": [2, 2], "bbox": [4, 2, 8, 4], "values": packed(bytes([255, 0, 128, 51]))}
    for record in (rows, text, encode(ConfidenceMap(VALUES, BOX))):
        assert confidence_error(record) is None
        for found in (decode(record), unpack(pack(record))):
            assert found.values.tolist() == VALUES.tolist()
            assert found.bbox == BOX


@settings(max_examples=30, deadline=None)
@given(values=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_map_comes_back(values: np.ndarray) -> None:
    record = json.loads(json.dumps(encode(ConfidenceMap(values, BOX))))
    assert confidence_error(record) is None
    assert np.array_equal(unpack(pack(record)).values, values)


def test_only_doubtful_cells_are_stored() -> None:
    """The second row and the middle columns of 3×4 cells of 10×5 pixels; nothing where all is certain."""
    values = np.full((3, 4), 255, dtype=np.uint8)
    assert crop_map(values, (0.0, 0.0, 40.0, 15.0)) is None
    values[1, 1:3] = 7, 9
    found = crop_map(values, (0.0, 0.0, 40.0, 15.0))
    assert found is not None
    assert found.values.tolist() == [[7, 9]]
    assert found.bbox == (10.0, 5.0, 20.0, 5.0)


def test_maps_are_indexed(tmp_path: Path) -> None:
    """By the position of their object in its image; what has no area takes its map along."""
    other = encode(ConfidenceMap(VALUES[:1], (0.0, 0.0, 30.0, 20.0)))
    file = coco(
        annotation(1, 2),
        annotation(2, 1, confidence_map=encode(ConfidenceMap(VALUES, BOX))),
        annotation(3, 2, bbox=[3, 3, 0, 5], confidence_map=other),
        annotation(4, 2, confidence_map=other),
    )
    index = open_index(write(tmp_path / "x.json", file))
    first, second = (index.objects(i).confidences for i in range(2))
    assert first.keys() == {0}
    assert first[0].values.tolist() == VALUES.tolist()
    assert first[0].bbox == BOX
    assert second.keys() == {1}
    assert second[1].values.tolist() == [[255, 0]]


def test_files_without_maps_cost_nothing(tmp_path: Path) -> None:
    """The arrays of maps are empty, one end aside."""
    index = open_index(write(tmp_path / "x.json", coco()))
    assert index.objects(0).confidences == {}
    sizes = {path.name: np.load(path).size for path in index.folder.glob("confidence_*.npy")}
    assert sizes == {"confidence_objects.npy": 0, "confidence_bytes.npy": 0, "confidence_offsets.npy": 1}


FORM = {"size": [2, 2], "bbox": [0, 0, 4, 4], "values": packed(bytes(4))}
BAD: dict[str, Any] = {
    "a confidence_map that is a float, not an object": 0.9,
    "a confidence_map of the size [2], not [rows, columns]": FORM | {"size": [2]},
    "a confidence_map of the size [2, 0], not": FORM | {"size": [2, 0]},
    "a confidence_map of the size [2.0, 2], not": FORM | {"size": [2.0, 2]},
    "a confidence_map of 2000×2000 cells (rows×columns); 1,048,576 is the most": FORM | {"size": [2000, 2000]},
    "a confidence_map of the box [0, 0, 4], not [x, y, width, height] with an area": FORM | {"bbox": [0, 0, 4]},
    "a confidence_map of the box [0, 0, 0, 4], not": FORM | {"bbox": [0, 0, 0, 4]},
    "a confidence_map of the box [0, 0, '4', 4], not": FORM | {"bbox": [0, 0, "4", 4]},
    "a confidence_map of the box [0, 1e+300, 4, 4], not": FORM | {"bbox": [0, 1e300, 4, 4]},
    "a confidence_map whose values are not base64 text of a zlib stream": FORM | {"values": "ä"},
    "a confidence_map whose values are not base64 text": FORM | {"values": base64.b64encode(b"plain").decode()},
    "a confidence_map whose values do not fill its size 2×2": FORM | {"values": packed(bytes(3))},
    "confidence_map whose values do not fill its size 2×2 (rows×columns)": FORM | {"values": packed(bytes(9_999))},
    "a confidence_map whose values are missing, neither": FORM | {"values": None},
    "confidence_map whose values do not fill its size 2×2": FORM | {"values": [[0, 1], [1]]},
    "a confidence_map with 1.5, not a number from 0 to 1": FORM | {"values": [[0, 1], [1.5, 1]]},
    "a confidence_map with -0.1, not a number from 0 to 1": FORM | {"values": [[0, 1], [-0.1, 1]]},
    "a confidence_map with 'high', not": FORM | {"values": [[0, 1], ["high", 1]]},
    "a confidence_map with nan, not": FORM | {"values": [[0, 1], [float("nan"), 1]]},
}


@pytest.mark.parametrize("sentence", BAD)
def test_refuse_bad_maps(tmp_path: Path, sentence: str) -> None:
    """With the file and the annotation."""
    path = write(tmp_path / "x.json", coco(annotation(1), annotation(2, confidence_map=BAD[sentence])))
    for read in (open_index, load_coco):
        with pytest.raises(AnnotationError) as raised:
            read(path)
        message = str(raised.value)
        assert message.startswith(f"{path}: annotation 2 has ")
        assert sentence in message


def test_self_training_keeps_maps(tmp_path: Path) -> None:
    """Of annotations that stay, in memory and in files; detections have none."""
    marked = annotation(1, confidence_map=encode(ConfidenceMap(VALUES, BOX)))
    previous, found, output = (tmp_path / f"{name}.json" for name in ("previous", "found", "next"))
    write(previous, coco(marked))
    found.write_text(json.dumps([detection(2)]))
    merge_files(previous, found, output, 0.2)
    for merged in (merge_annotations(coco(marked), [detection(2)], 0.2), json.loads(output.read_text())):
        assert [one.get("confidence_map") for one in merged["annotations"]] == [marked["confidence_map"], None]
