import json
import re
from pathlib import Path

import golden_set
import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.coco.io import load_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.pseudo_masks.progress_bar import MaskCutProgressBar

from .small_runs import files, run, write_disc


def test_list_broken_image_and_do_the_rest(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = run(images, tmp_path / "out", max_failure_rate=0.2, callbacks=[MaskCutProgressBar()])
    assert report is not None
    shown = capfd.readouterr().out
    assert "7/7" in shown
    assert {line.split(":")[0].strip() for line in re.split(r"[\r\n]", shown) if "|" in line} == {"MaskCut"}  # one bar
    assert f"kept={report.annotations}, dropped={sum(report.dropped.values())}, failed=1" in shown
    coco = load_coco(tmp_path / "out/annotations.json").coco
    assert [(i["id"], i["file_name"], i["height"], i["width"]) for i in coco["images"]] == [
        (1, "a/0.png", 60, 80),
        (2, "a/1.png", 60, 80),
        (3, "a/2.png", 60, 80),
        (4, "a/3.png", 60, 80),
        (5, "b/0.png", 90, 50),
        (6, "größe.png", 60, 80),
    ]
    assert report.annotations == len(coco["annotations"]) > 0
    assert report.annotations + sum(report.dropped.values()) == 6 * 3  # every round is a mask or has a reason
    (failure,) = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["file"] == "b/broken.jpg"
    assert json.loads(failure)["reason"].startswith("not readable as an image")


def test_loader_processes_change_nothing(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "a", max_failure_rate=0.2)
    run(images, tmp_path / "b", max_failure_rate=0.2, num_workers=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_read_or_list_every_image_kind(tmp_path: Path) -> None:
    folder = tmp_path / "kinds"
    upright = write_disc(folder / "rgb.png", 1)
    write_disc(folder / "grey.jpg", 1, mode="L", quality=95)
    write_disc(folder / "cmyk.jpg", 1, mode="CMYK", quality=95)
    write_disc(folder / "palette.png", 1, mode="P")
    write_disc(folder / "alpha.png", 1, mode="RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(upright).rotate(90, expand=True).save(folder / "turned.png", exif=exif)
    deep = np.asarray(Image.open(upright).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    whole = write_disc(folder / "truncated.jpg", 1, quality=95).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    write_disc(folder / "dot.png", 1, (1, 1))
    write_disc(folder / "thin.png", 1, (2, 300))
    run(folder, tmp_path / "out", max_failure_rate=0.5)
    coco = load_coco(tmp_path / "out/annotations.json").coco
    sizes = {i["file_name"]: (i["height"], i["width"]) for i in coco["images"]}
    good = ["alpha.png", "cmyk.jpg", "deep.png", "grey.jpg", "palette.png", "rgb.png", "turned.png"]
    assert sizes == {"thin.png": (2, 300), **dict.fromkeys(good, (60, 80))}
    failed = [json.loads(line)["file"] for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert failed == ["dot.png", "empty.jpg", "truncated.jpg"]
    found = {
        i["file_name"]: [a["segmentation"] for a in coco["annotations"] if a["image_id"] == i["id"]]
        for i in coco["images"]
    }
    assert found["turned.png"] == found["rgb.png"] == found["alpha.png"] != []


class RecordedFeatures:
    """Gives each image the features that were recorded for it; recognises it by its pixels."""

    patch_size = 8

    def __init__(self, dataset: Path, features: dict[str, np.ndarray]) -> None:
        self.known = {}
        for name, recorded in features.items():
            original = Image.fromarray(read_image(dataset / name))
            square = np.array(original.resize((480, 480), Image.Resampling.LANCZOS))
            grid = torch.from_numpy(recorded.astype(np.float32)).unflatten(-1, (60, 60))
            self.known[square.tobytes()] = grid

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.stack([self.known[one.tobytes()] for one in pixels])


@pytest.mark.golden
def test_match_golden_annotations_exactly(golden_dir: Path, tmp_path: Path) -> None:
    dataset, features, theirs = golden_set.pipeline_dataset(golden_dir / "maskcut/pipeline", tmp_path / "images")
    report = run(
        dataset,
        tmp_path / "out",
        extractor=RecordedFeatures(dataset, features),
        params=MaskCutParams(),
        fixed_size=480,
        batch_size=1,
        max_failure_rate=0.2,
    )
    ours = json.loads((tmp_path / "out" / "annotations.json").read_text())

    def by_name(coco: dict) -> dict[str, list[dict]]:
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        found: dict[str, list[dict]] = {name: [] for name in names.values()}
        for annotation in coco["annotations"]:
            values = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
            found[names[annotation["image_id"]]].append(values)
        return found

    assert by_name(ours) == by_name(theirs)
    sizes = {i["file_name"]: (i["width"], i["height"]) for i in ours["images"]}
    assert sizes == {i["file_name"]: (i["height"], i["width"]) for i in theirs["images"]}  # exchanged there
    assert [i["file_name"] for i in ours["images"]] == sorted(sizes)
    assert [i["id"] for i in ours["images"]] == list(range(1, len(theirs["images"]) + 1))
    assert report is not None
    assert report.without_annotations == 1
    assert [name.split(".")[0] for name, found in by_name(ours).items() if not found] == ["n_aa/img_04_noise"]
    failures = [json.loads(line) for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert [failure["file"].split(".")[0] for failure in failures] == ["n_aa/img_03_broken"]
