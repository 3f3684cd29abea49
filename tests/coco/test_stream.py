import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.coco import stream
from cutler_pl.coco.stream import read_batches, read_records, writing_coco
from cutler_pl.errors import AnnotationError, DatasetNotFoundError

COCO = {
    "info": {"version": 1.5, "note": "ä, [1]"},
    "images": [{"id": 1, "file_name": "ä.jpg", "height": 3, "width": 4}, {"id": 2}],
    "annotations": [{"id": 1, "segmentation": [[0, 0.5, 1e-3, 2]], "x": None}],
    "categories": [],
    "count": 12,
}


def gathered(path: Path, **options: Any) -> dict[str, Any]:
    """What `json.load` would give, put together from the stream."""
    whole: dict[str, Any] = {}
    for key, value in read_records(path, **options):
        if isinstance(COCO.get(key), list):
            whole.setdefault(key, []).append(value)
        else:
            whole[key] = value
    return whole


@given(st.integers(1, 40), st.sampled_from([None, 2]))
def test_chunks_of_any_size_equal_json(
    tmp_path_factory: pytest.TempPathFactory, piece: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("stream") / "coco.json"
    path.write_text(json.dumps(COCO, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_CHUNK_CHARACTERS", piece)
        assert gathered(path) == {key: value for key, value in COCO.items() if value != []}


@pytest.mark.parametrize("indent", [None, 1])
def test_batches_hold_many_objects(tmp_path: Path, indent: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings and nested lists that look like the border of two objects do not split one."""
    objects: list[Any] = [{"id": i, "parts": [{"x": 1}, {"x": 2}], "note": '"},{'} for i in range(1000)]
    content = {"images": objects, "annotations": [*objects, 1, None], "categories": []}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, indent=indent))
    monkeypatch.setattr(stream, "_CHUNK_CHARACTERS", 10_000)
    batches = list(read_batches(path))
    assert len(batches) < 700
    assert [element for key, batch in batches if key == "images" for element in batch] == objects
    assert [element for key, batch in batches if key == "annotations" for element in batch] == [*objects, 1, None]


def test_nan_is_read_although_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [{"id": 1}, {"id": NaN}, {"id": 3}]}')
    assert [str(value["id"]) for _, value in read_records(tmp_path / "a.json", require=())] == ["1", "nan", "3"]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(COCO), encoding="utf-8-sig")
    assert gathered(tmp_path / "a.json")["count"] == 12


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a COCO object"),
        ("[1, 2]", "expected a COCO object"),
        ("<html>", "expected a COCO object"),
        ('{"images": [{"id": 1}, {"id"', "not a COCO JSON file"),
        ('{"images": [{"id": 1} {"id": 2}]}', "expected a comma or the end of the list, after 22 characters"),
        ('{"info": {"text": "cut he', "Unterminated string starting at, after 18 characters"),
        ('{"images": [], "annotations": []', "expected a comma or the end of the object"),
        ('{"images": [], "annotations": []}', 'the list "categories" .* is missing'),
        ('{"images": {}, "annotations": [], "categories": []}', 'the list "images" .* is missing'),
        ('{"images": [' + "[" * 100_000, "not a COCO JSON file"),
    ],
)
def test_name_file_that_is_not_coco(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match=sentence) as caught:
        gathered(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)


def test_name_undecodable_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"images": ["\xff"]}')
    with pytest.raises(AnnotationError, match=r"a\.json: not a COCO JSON file"):
        gathered(tmp_path / "a.json")
    with pytest.raises(DatasetNotFoundError, match=r"no such annotation file: .*b\.json"):
        gathered(tmp_path / "b.json")


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": os.fsdecode(b"\xff.jpg")}
    with writing_coco(tmp_path / "a.json", {"categories": []}) as writer:
        writer.image(image)
    assert gathered(tmp_path / "a.json")["images"] == [image]


def test_write_records_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with writing_coco(path, {"info": {}, "categories": [{"id": 1}]}) as writer:
        writer.annotation({"id": 1, "bbox": [0.5, 1]})
        writer.image({"id": 7, "file_name": "ä.jpg"})
        writer.annotation({"id": 2})
        assert not path.exists()
    assert json.loads(path.read_text()) == {
        "info": {},
        "categories": [{"id": 1}],
        "images": [{"id": 7, "file_name": "ä.jpg"}],
        "annotations": [{"id": 1, "bbox": [0.5, 1]}, {"id": 2}],
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_write_valid_json_without_records(tmp_path: Path) -> None:
    with writing_coco(tmp_path / "a.json", {}):
        pass
    assert json.loads((tmp_path / "a.json").read_text()) == {"images": [], "annotations": []}


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"), writing_coco(path, {}) as writer:
        writer.image({"id": float("nan")})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
