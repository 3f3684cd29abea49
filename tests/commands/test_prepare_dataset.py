import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_sets
from file_server import serving
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cutler_pl.coco import load_coco
from cutler_pl.commands import prepare_dataset
from cutler_pl.commands.values import check_values
from cutler_pl.datasets.catalog import CATALOG, resolve
from cutler_pl.datasets.converters import CONVERTED, Options, open_download
from cutler_pl.errors import ConfigError, DatasetNotFoundError, TooManyFailuresError
from cutler_pl.runtime.config_tree import config_dir

CONFIG_DIR = config_dir()


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("prepare_dataset", overrides=list(overrides))


def checked_run(cfg: DictConfig) -> Path:
    """As `launch` does."""
    check_values("prepare_dataset", cfg)
    return prepare_dataset.run(cfg)


def settings(tmp_path: Path, name: str, root: Path, *more: str) -> DictConfig:
    return config(f"paths.datasets='{tmp_path / 'datasets'}'", f"name={name}", f"root='{root}'", *more)


def counts(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output.with_name(f"{output.stem}_report") / "counts.json").read_text())
    return found


@pytest.fixture
def kitti(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A KITTI download of two images, in a folder with a difficult name."""
    root = tmp_path / "my kitti, (1)"
    (root / "training" / "label_2").mkdir(parents=True)
    for number in range(2):
        write_image(f"my kitti, (1)/training/image_2/00000{number}.png", (48, 64))
        lines = ["Car 0 0 0 10 10 30 30 1 1 1 1 1 1 1", "DontCare -1 -1 -10 40 4 60 9 -1 -1 -1 -1 -1 -1 -1"]
        (root / "training" / "label_2" / f"00000{number}.txt").write_text("\n".join(lines))
    return root


def test_convert_kitti_into_catalogue(tmp_path: Path, kitti: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = prepare_dataset.run(settings(tmp_path, "kitti", kitti))
    assert output == tmp_path / "datasets" / CATALOG["kitti"].annotations
    assert counts(output) == {
        "images": 2, "images_without_objects": 0, "annotations": 4, "ignored": 2, "skipped": [],
    }  # fmt: skip
    (tmp_path / "datasets" / "kitti" / "JPEGImages").symlink_to(kitti / "training" / "image_2")
    paths = resolve("kitti", tmp_path / "datasets")
    for image in load_coco(paths.annotations).coco["images"]:
        assert (paths.images / image["file_name"]).is_file()
    report = output.with_name(f"{output.stem}_report")
    assert {path.name for path in report.iterdir()} == {
        "config.yaml", "run.json", "counts.json", "skipped.jsonl", "examples.jpg",
    }  # fmt: skip
    with Image.open(report / "examples.jpg") as sheet:
        assert sheet.width > 400
    printed = " ".join(capsys.readouterr().out.split())
    assert "images 2" in printed
    assert "ignored (iscrowd) 2" in printed


def test_same_bytes_and_no_silent_overwrite(tmp_path: Path, kitti: Path) -> None:
    output = prepare_dataset.run(settings(tmp_path, "kitti", kitti))
    first = output.read_bytes()
    with pytest.raises(ConfigError, match=r"the file exists; .*overwrite=true"):
        prepare_dataset.run(settings(tmp_path, "kitti", kitti))
    prepare_dataset.run(settings(tmp_path, "kitti", kitti, "overwrite=true", "num_examples=0"))
    assert output.read_bytes() == first
    assert not (output.with_name(f"{output.stem}_report") / "examples.jpg").exists(), "no sheet of an older file"


def test_examples_skip_truncated_image(tmp_path: Path, kitti: Path) -> None:
    for path in sorted((kitti / "training" / "image_2").iterdir()):
        jpeg = path.with_suffix(".jpg")
        with Image.open(path) as image:
            image.save(jpeg)
        path.unlink()
        jpeg.write_bytes(jpeg.read_bytes()[: -1000 if path.stem == "000001" else None])
    output = prepare_dataset.run(settings(tmp_path, "kitti", kitti))
    assert counts(output)["images"] == 2
    with Image.open(output.with_name(f"{output.stem}_report") / "examples.jpg") as sheet:
        assert sheet.width < 500


def test_print_skipped_by_reason(tmp_path: Path, kitti: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kitti / "training" / "image_2" / "000001.png").unlink()
    prepare_dataset.run(settings(tmp_path, "kitti", kitti, "max_failure_rate=1", "marked=drop"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "images skipped: image missing (error) 1" in printed
    assert "objects skipped: DontCare region 1" in printed


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["name=nothing"], "name=nothing: expected one of coco, coco_80"),
        (["name=coco_semi_10"], "name=coco_semi_10 is not converted .*make_coco_splits"),
        (["root=null"], "root=<folder of the original download>, or fetch=true"),
        (["marked=maybe"], "marked=maybe: expected one of keep, ignore, drop"),
        (["max_failure_rate=2"], "max_failure_rate=2: expected a number from 0 to 1"),
        (["splits=train"], "splits=train: expected a list"),
        (["fetch=true"], "it goes with neither root= nor output="),
    ],
)
def test_refuse_invalid_settings(tmp_path: Path, kitti: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked_run(settings(tmp_path, "kitti", kitti, *overrides))


@pytest.mark.parametrize("name", CONVERTED)
def test_missing_parts_are_named(tmp_path: Path, name: str) -> None:
    def find(root: Path, annotations: Path | None = None) -> None:
        open_download(name, root, datasets=tmp_path, options=Options(annotations=annotations))

    with pytest.raises(DatasetNotFoundError, match="gone: no such folder; give root="):
        find(tmp_path / "gone")
    with pytest.raises(DatasetNotFoundError, match=f"no annotations of {name}: looked for .*annotations=<path>"):
        find(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(DatasetNotFoundError, match=f"no images of {name}: looked for .*; give images=<folder>"):
        find(tmp_path, tmp_path / "a")


def test_too_many_errors_end_command(tmp_path: Path, command: Callable[..., Any], kitti: Path) -> None:
    (kitti / "training" / "image_2" / "000001.png").write_bytes(b"no image")
    place = [f"paths.datasets={tmp_path / 'datasets'}", "name=kitti", f"root='{kitti}'"]
    done = command("scripts/prepare_dataset.py", *place)
    assert done.code == 1
    assert done.err.count("error: ") == 1
    assert "50.0% of the images are missing or invalid" in done.err
    assert "accept it by max_failure_rate=1" in done.err
    assert command("scripts/prepare_dataset.py", *place, "max_failure_rate=0.5").code == 0
    assert not list((tmp_path / "cwd").iterdir()), "nothing is written where one stands"


def test_refused_conversion_keeps_the_report(tmp_path: Path, kitti: Path) -> None:
    """What an earlier conversion says of itself belongs to the file that stays."""
    output = prepare_dataset.run(settings(tmp_path, "kitti", kitti))
    report = output.with_name(f"{output.stem}_report")
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    for path in (kitti / "training" / "label_2").iterdir():
        path.write_text("Car 0 0 0")
    with pytest.raises(TooManyFailuresError, match=r"all are listed in .*refused.jsonl"):
        prepare_dataset.run(settings(tmp_path, "kitti", kitti, "overwrite=true"))
    refused = report / "refused.jsonl"
    assert "Car 0 0 0" in refused.read_text()
    refused.unlink()
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


def test_fetching_prints_what_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = {"images": [], "annotations": [{"id": 1}] * 1234, "categories": []}
    with serving() as server:
        server.files["/voc/trainvaltest_2007_cls_agnostic.json"] = json.dumps(coco).encode()
        place = f"paths.datasets='{tmp_path}'"
        path = prepare_dataset.run(config(place, "name=voc", "fetch=true", f"mirror='{server.address}'"))
    assert json.loads(path.read_text()) == coco
    assert "1,234" in capsys.readouterr().out


SAMPLES: list[tuple[str, str, list[str], tuple[int, int, int]]] = [
    ("voc", "voc_mini/DERIVED_from_coco", [], (16, 51, 0)),
    ("voc", "voc_mini/DERIVED_from_coco", ["marked=ignore"], (16, 51, 8)),
    ("kitti", "kitti_mini", [], (3, 10, 4)),
    ("clipart", "crossdomain_mini/clipart", ["check_images=false"], (3, 13, 0)),
    ("watercolor", "crossdomain_mini/watercolor", ["splits=[test]", "max_failure_rate=0.5"], (1, 2, 0)),
    ("coco", "coco_mini", ["annotations={}/annotations/instances.json", "images={}/images"], (60, 494, 7)),
    (
        "coco20k",
        "coco_mini",
        [
            "annotations={}/annotations/instances.json",
            "images={}/images",
            "ids={}/../splits/coco_20k_filenames.txt",
            "max_failure_rate=1",
        ],
        (6, 90, 3),
    ),
    ("lvis", "lvis_mini", ["annotations={}/lvis_v0.5_val_subset.json", "check_images=false"], (60, 616, 0)),
    (
        "lvis",
        "lvis_mini",
        ["annotations={}/DERIVED_v1_style_no_file_name.json", "check_images=false"],
        (60, 616, 0),
    ),
    (
        "uvo",
        "uvo_mini",
        ["annotations={}/DERIVED_rle_cls_agnostic_from_coco.json", "images={}/../coco_mini/images"],
        (12, 46, 0),
    ),
    (
        "objects365",
        "objects365_mini",
        [
            "annotations={}/SYNTHETIC_mmdet_unsorted_obj365_sample.json",
            "check_images=false",
            "max_failure_rate=0.2",
        ],
        (4, 7, 1),
    ),
]
"""Converter, folder, settings, and how many images, annotations and ignored ones it gives."""


@pytest.mark.parametrize(
    ("name", "root", "more", "expected"),
    [pytest.param(*sample, marks=pytest.mark.real_data(sample[1].split("/")[0])) for sample in SAMPLES],
)
def test_real_samples_have_described_counts(
    tmp_path: Path, data_dir: Path, name: str, root: str, more: list[str], expected: tuple[int, int, int]
) -> None:
    overrides = [text.format(data_dir / root) for text in more]
    output = prepare_dataset.run(
        settings(tmp_path, name, data_dir / root, f"num_examples={int(name == 'coco')}", *overrides)
    )
    found = counts(output)
    expected = small_sets.COUNTS[name] if small_sets.are_made(data_dir) else expected
    assert (found["images"], found["annotations"], found["ignored"]) == expected
    assert load_coco(output).dropped == []


@pytest.mark.real_data("openimages_mini")
@pytest.mark.parametrize(
    ("table", "expected"), [("train-annotations-bbox.csv", (1, 8, 1)), ("oidv6-train-annotations-bbox.csv", (1, 3, 0))]
)
def test_real_rows_of_both_versions_of_openimages(
    tmp_path: Path, data_dir: Path, write_image: Callable[..., Path], table: str, expected: tuple[int, int, int]
) -> None:
    write_image("validation/000002b66c9c498e.jpg", (640, 640))
    source = data_dir / "openimages_mini" / table
    output = prepare_dataset.run(settings(tmp_path, "openimages", tmp_path, f"annotations={source}"))
    found = counts(output)
    assert (found["images"], found["annotations"], found["ignored"]) == expected
    assert load_coco(output).coco["annotations"][0]["bbox"] == [8.0, 95.0, 117.0, 281.0]
