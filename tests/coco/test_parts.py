import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutler_pl.coco.parts import PartFiles, PartWriter
from cutler_pl.errors import AnnotationError, OutputWriteError

several_examples = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

RECORDS: list[dict[str, Any]] = [
    {"file": "b/2.jpg", "height": 20},
    {"file": "a/1.jpg", "counts": "08f0OUl0"},
    {"file": "c/größe, [3].jpg"},
    {"file": os.fsdecode(b"gr\xf6\xdfe.jpg")},
    {"file": "a/10.jpg"},
]


def write(path: Path, *records: dict[str, Any]) -> Path:
    with PartWriter(path) as writer:
        writer.append(records)
    return path


def names_in(*paths: Path) -> list[str]:
    return [record["file"] for _, record in PartFiles(paths, key="file")]


def test_read_records_with_offsets(tmp_path: Path) -> None:
    path = write(tmp_path / "new/s.jsonl", *RECORDS)
    read = list(PartFiles([path], key="file"))
    assert [record for _, record in read] == RECORDS
    content = path.read_bytes()
    assert [json.loads(content[place.offset :].split(b"\n")[0]) for place, _ in read] == RECORDS


@several_examples
@given(st.data())
def test_cut_file_keeps_whole_records(tmp_path: Path, data: st.DataObject) -> None:
    """A file cut anywhere keeps its whole records and can be continued."""
    path = tmp_path / "s.jsonl"
    path.unlink(missing_ok=True)
    whole = write(path, *RECORDS[:3]).read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    kept = names_in(path)
    assert kept == [r["file"] for r in RECORDS[: len(kept)]]
    write(path, RECORDS[4])
    assert names_in(path) == [*kept, "a/10.jpg"]


def test_cut_torn_line_longer_than_a_block(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", RECORDS[0])
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    write(path)
    assert path.read_bytes() == whole


def test_damaged_line_costs_its_record_only(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", *RECORDS[:3])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0" + lines[1][3:] + b'["no record"]\n' + lines[2])
    parts = PartFiles([path], key="file")
    assert [record["file"] for _, record in parts] == ["b/2.jpg", "c/größe, [3].jpg"]
    assert parts.num_damaged == 2


def test_full_disk_leaves_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "s.jsonl", RECORDS[0])
    before = path.read_bytes()
    real = os.write

    def nearly_full(descriptor: int, content: bytes) -> int:
        if os.fstat(descriptor).st_size > len(before):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[:10])

    with PartWriter(path) as writer:
        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(OutputWriteError, match=r"s\.jsonl: cannot be written \(No space left on device\)"):
            writer.append(RECORDS[1:3])
        monkeypatch.undo()
        assert path.read_bytes() == before
        writer.append(RECORDS[1:3])
    assert names_in(path) == [r["file"] for r in RECORDS[:3]]


@several_examples
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_ignores_division_into_parts(tmp_path: Path, randomness: random.Random, count: int) -> None:
    shuffled = [*RECORDS, RECORDS[0]]  # one record is there twice
    randomness.shuffle(shuffled)
    paths = [tmp_path / f"{number}.jsonl" for number in range(count)]
    for number, path in enumerate(paths):
        path.unlink(missing_ok=True)
        write(path, *shuffled[number::count])
    parts = PartFiles(paths, key="file")
    assert list(parts.read(parts.index().values())) == sorted(RECORDS, key=lambda record: record["file"])


def test_first_accepted_record_of_a_key_counts(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", {"id": 7, "n": 0}, {"id": 2, "n": 1}, {"id": 7, "n": 2})
    other = write(tmp_path / "2.jsonl", {"id": 7, "n": 3}, {"id": 2, "n": 4})
    parts = PartFiles([one, other], key="id")
    places = parts.index(lambda record: record["n"] > 1)
    assert list(places) == [2, 7]
    assert [record["n"] for record in parts.read(places.values())] == [4, 2]


def test_read_more_files_than_may_be_open(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.jsonl", {"id": -i}, {"id": 1000 + i}) for i in range(150)]
    parts = PartFiles(paths, key="id")
    assert [record["id"] for record in parts.read(parts.index().values())] == sorted(
        [-i for i in range(150)] + [1000 + i for i in range(150)]
    )


def test_file_changed_since_it_was_indexed(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", *RECORDS)
    parts = PartFiles([path], key="file")
    places = parts.index()
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(AnnotationError, match=r"s\.jsonl: changed while it was merged"):
        list(parts.read(places.values()))
