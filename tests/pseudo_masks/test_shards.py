import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutler_pl.coco import rle
from cutler_pl.coco.io import load_coco
from cutler_pl.coco.parts import PartWriter, ShardRecord
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.pseudo_masks.shards import begin_run, read_inputs, read_progress

several_examples = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def done(name: str, *boxes_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int] = (20, 30)) -> ShardRecord:
    annotations = []
    for x0, y0, x1, y1 in boxes_xyxy:
        mask = np.zeros(size_hw, bool)
        mask[y0:y1, x0:x1] = True
        encoded = rle.encode(mask)
        annotations.append({"area": rle.area(encoded), "bbox": rle.bbox(encoded), "segmentation": encoded})
    return {"file": name, "height": size_hw[0], "width": size_hw[1], "annotations": annotations, "dropped": {}}


def write(path: Path, *records: ShardRecord) -> Path:
    with PartWriter(path) as writer:
        writer.append(records)
    return path


RECORDS = [
    done("b/2.jpg", (0, 0, 5, 5)),
    done("a/1.jpg", (1, 2, 11, 7), (3, 3, 4, 4)),
    done("c/größe, [3].jpg"),
    {"file": "a/broken.jpg", "failure": "damaged"},
    done("a/10.jpg", (0, 0, 30, 20)),
]


def test_failed_then_done_is_done(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", {"file": "x.jpg", "failure": "damaged"}, {"file": "y.jpg", "failure": "too small"})
    write(tmp_path / "0.jsonl", done("x.jpg"))
    progress = read_progress(tmp_path)
    assert progress.done == {"x.jpg"}
    assert progress.failed == {"y.jpg": "too small"}


def test_refuse_other_parameters(tmp_path: Path) -> None:
    parameters = {"cut": {"tau": 0.15, "num_masks": 3}, "size": (480, 480), "input": "photos"}
    begin_run(tmp_path / "out/shards", parameters, ["a", "b"])
    begin_run(tmp_path / "out/shards", parameters, ["a", "b", "c"])
    assert read_inputs(tmp_path / "out/shards") == ["a", "b", "c"]
    other = {**parameters, "cut": {"tau": 0.2, "num_masks": 3, "eps": 1}}
    with pytest.raises(ConfigError, match=r"out: .*cut\.tau=0\.15 where 0\.2 .*; cut\.eps=None where 1"):
        begin_run(tmp_path / "out/shards", other, ["a", "b", "c"])


@several_examples
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_merge_ignores_division_into_shards(tmp_path: Path, random: object, shards: int) -> None:
    reference = tmp_path / "reference.json"
    merge_shards([write(tmp_path / "all.jsonl", *RECORDS)], reference)
    (tmp_path / "all.jsonl").unlink()
    folder = tmp_path / "divided"
    for path in folder.glob("*"):
        path.unlink()
    shuffled = [*RECORDS, RECORDS[0]]  # one image was done twice
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for number in range(shards):
        write(folder / f"{number}.jsonl", *shuffled[number::shards])
    merge_shards([folder], tmp_path / "merged.json")
    assert (tmp_path / "merged.json").read_bytes() == reference.read_bytes()


def test_merged_file_is_sorted_and_numbered(tmp_path: Path) -> None:
    failures = tmp_path / "failures.jsonl"
    report = merge_shards([write(tmp_path / "s.jsonl", *RECORDS)], tmp_path / "out/a.json", failures=failures)
    coco = load_coco(tmp_path / "out/a.json")
    assert (coco.swapped, coco.dropped) == (0, [])
    assert [(i["id"], i["file_name"]) for i in coco.coco["images"]] == [
        (1, "a/1.jpg"),
        (2, "a/10.jpg"),
        (3, "b/2.jpg"),
        (4, "c/größe, [3].jpg"),
    ]
    assert [(a["id"], a["image_id"], a["area"]) for a in coco.coco["annotations"]] == [
        (1, 1, 50),
        (2, 1, 1),
        (3, 2, 600),
        (4, 3, 25),
    ]
    assert (report.images, report.annotations, report.without_annotations) == (4, 4, 1)
    assert json.loads(failures.read_text()) == {"file": "a/broken.jpg", "reason": "damaged"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.json"]


def test_report_missing_images(tmp_path: Path) -> None:
    shard = write(tmp_path / "s.jsonl", *RECORDS)
    expected = ["a/1.jpg", "a/broken.jpg", "d/4.jpg"]
    with pytest.raises(AnnotationError, match=r"1 of 3 images are in no shard \(d/4\.jpg\).*allow_missing"):
        merge_shards([shard], tmp_path / "a.json", expected=expected, failures=tmp_path / "f.jsonl")
    assert not (tmp_path / "a.json").exists()
    assert [json.loads(line)["file"] for line in (tmp_path / "f.jsonl").read_text().splitlines()] == [
        "a/broken.jpg",
        "d/4.jpg",
    ]
    report = merge_shards([shard], tmp_path / "a.json", expected=expected, allow_missing=True)
    assert (report.missing, report.unexpected, report.images) == (["d/4.jpg"], 3, 1)


def test_refuse_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        merge_shards([tmp_path / "nowhere"], tmp_path / "a.json")
    with pytest.raises(DatasetNotFoundError, match="no shard files"):
        merge_shards([tmp_path], tmp_path / "a.json")


def test_failed_merge_leaves_former_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("former")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(AnnotationError, match=r"bad\.json"):
        merge_shards([write(tmp_path / "s.jsonl", *RECORDS), tmp_path / "bad.json"], tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "former"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "bad.json", "s.jsonl"]


@pytest.mark.golden
def test_merge_golden_jobs_and_fix_sizes(golden_dir: Path, tmp_path: Path) -> None:
    folder = golden_dir / "maskcut/pipeline"
    report = merge_shards([folder / "jobs"], tmp_path / "a.json")
    ours = json.loads((tmp_path / "a.json").read_text())
    theirs = json.loads((folder / "merged.json").read_text())
    assert {(i["file_name"], i["height"], i["width"]) for i in ours["images"]} == {
        (i["file_name"], i["width"], i["height"]) for i in theirs["images"]
    }

    def without_ids(coco: dict) -> list[str]:
        names = {i["id"]: i["file_name"] for i in coco["images"]}
        kept = ("segmentation", "bbox", "area", "iscrowd", "category_id", "width", "height")
        return sorted(json.dumps([names[a["image_id"]], *(a[key] for key in kept)]) for a in coco["annotations"])

    assert without_ids(ours) == without_ids(theirs)
    assert (report.images, report.annotations, report.without_annotations) == (5, 7, 1)


@pytest.mark.golden
def test_list_golden_annotations_without_image(golden_dir: Path, tmp_path: Path) -> None:
    report = merge_shards([golden_dir / "maskcut/pipeline/single_job_two_folders"], tmp_path / "a.json")
    assert (report.images, report.annotations) == (4, 5)
    assert len(report.invalid) == 2
    assert all("unknown image 3" in error for error in report.invalid)


@pytest.mark.parametrize(
    "content",
    ["", "{", "5", "[1]", '{"a":' * 600 + "1" + "}" * 600, '{"a":' * 100_000, "NaN"],
    ids=["empty", "cut", "number", "list", "deep", "deeper", "nan"],
)
def test_damaged_parameters_are_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "parameters.json").write_text(content)
    with pytest.raises((AnnotationError, ConfigError)) as error:
        begin_run(tmp_path, {"tau": 0.15}, ["a"])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("content", ["", "[", "{}", "[5]", "[null]", "[" * 100_000])
def test_damaged_inputs_are_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "inputs.json").write_text(content)
    with pytest.raises(AnnotationError, match=r"inputs\.json: .*restore it, or remove this file"):
        read_inputs(tmp_path)


@pytest.mark.parametrize(("recorded", "finder"), [({}, "MaskCut"), ({"generator": "uniap"}, "uniap")])
def test_merged_file_says_what_found_the_masks(tmp_path: Path, recorded: dict[str, str], finder: str) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "parameters.json").write_text(json.dumps(recorded))
    write(folder / "s.jsonl", *RECORDS)
    merge_shards([folder], tmp_path / "merged.json")
    info = json.loads((tmp_path / "merged.json").read_text())["info"]
    assert info["description"] == f"Class-agnostic pseudo-masks found by {finder}"
