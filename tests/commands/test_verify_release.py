"""`recipe=verify_release` against a stand-in for the released files: tiny weights, datasets and published numbers."""

import getpass
import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import FileServer, serving

from cutler_pl.commands.recipe import verify_release
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.evaluation.published import published_numbers
from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.reports.verification import MeasuredDataset, Verification
from cutler_pl.weights import sources

from .conftest import SMALL, Command, sentence

PUBLISHED = {name: {("bbox", "AP50"): 0.0, ("bbox", "AR100"): 99.0} for name in ("coco", "voc")}
FILES = {
    "coco": "/coco/coco_cls_agnostic_instances_val2017.json",
    "voc": "/voc/trainvaltest_2007_cls_agnostic.json",
}
IMAGES = {"coco": "coco/val2017", "voc": "voc"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Released files; the images of both datasets lie in `tmp_path / "sets"`."""
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, **SMALL)
    config = detector_config(model, category_ids=[1])
    torch.save({"model": model.state_dict(), "model_config": config}, tmp_path / "tiny.pth")
    with serving() as server:
        server.files["/cutler_cascade_final.pth"] = (tmp_path / "tiny.pth").read_bytes()
        for seed, (name, address) in enumerate(FILES.items()):
            write_scenes(tmp_path / name / "images", 3, SceneParams(height=48, width=64), seed=seed)
            server.files[address] = (tmp_path / name / "annotations.json").read_bytes()
            shutil.copytree(tmp_path / name / "images", tmp_path / "sets" / IMAGES[name])
        monkeypatch.setitem(sources.RELEASED, "cutler_cascade_final", f"{server.address}/cutler_cascade_final.pth")
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
        monkeypatch.setattr(verify_release, "published_numbers", lambda weights: PUBLISHED)
        yield server


def words(tmp_path: Path, server: FileServer, *more: str) -> list[str]:
    return [
        "recipe=verify_release", f"paths.datasets={tmp_path}/sets", f"recipe.output={tmp_path}/out",
        f"recipe.mirror={server.address}", "recipe.trainer=cpu", "recipe.evaluate={num_workers: 0, num_examples: 0}",
        *more,
    ]  # fmt: skip


def test_release_is_fetched_and_judged(command: Command, tmp_path: Path, server: FileServer) -> None:
    """The file to send holds numbers, versions and hashes, and nothing of the machine's or its user's names."""
    outcome = command("scripts/recipe.py", *words(tmp_path, server, "datasets=[coco,voc]"))
    assert outcome.code == 0, outcome.err
    assert sorted(server.log) == sorted(["/cutler_cascade_final.pth", *FILES.values()])
    assert "ours − published" in outcome.out
    assert "cutler_cascade_final: differs: 0 of 2 datasets are within ±0.1" in outcome.err
    found = json.loads((tmp_path / "out/verification.json").read_text())
    assert found["verdict"] == found["datasets"]["coco"]["verdict"] == "differs"
    assert found["weights"]["name"] == "cutler_cascade_final"
    assert found["datasets"]["voc"]["counts"]["images"] == 3
    assert {"commit", "packages", "seed", "gpus", "cpu_count"} <= set(found["run"])
    results = json.loads((tmp_path / "out/stages/6_evaluate/results.json").read_text())
    assert [number["ours"] for number in found["datasets"]["coco"]["numbers"]] == [
        results["coco"]["bbox"]["AP50"],
        results["coco"]["bbox"]["AR100"],
    ]
    for name in ("verification.json", "verification.txt"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert found["weights"]["sha256"] in text
        private = [str(tmp_path), str(Path.home()), platform.node(), "file_name", "sets/", "127.0.0.1"]
        private += [getpass.getuser()] if getpass.getuser() != "root" else []
        assert [word for word in private if word and word in text] == []


def test_dry_run_needs_nothing(command: Command, tmp_path: Path, server: FileServer) -> None:
    shutil.rmtree(tmp_path / "sets")
    outcome = command("scripts/recipe.py", *words(tmp_path, server, "dry_run=true"))
    assert outcome.code == 0, outcome.err
    assert "stages/6_evaluate" in outcome.out
    assert not server.log
    assert not (tmp_path / "out").exists()


def test_missing_folders_are_named_together(command: Command, tmp_path: Path, server: FileServer) -> None:
    """Before anything is fetched; an incomplete folder is told once the annotations are there."""
    shutil.rmtree(tmp_path / "sets")
    said = sentence(command("scripts/recipe.py", *words(tmp_path, server)))
    assert "the image folder coco/val2017 of coco, the image folder voc of voc" in said
    assert not server.log


def test_missing_images_are_counted(tmp_path: Path, server: FileServer) -> None:
    for name, file in FILES.items():
        target = tmp_path / "sets" / name / "annotations" / Path(file).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(server.files[file])
    first = min((tmp_path / "sets/voc").glob("*.png"))
    verify_release.check_images(["coco", "voc"], str(tmp_path / "sets"))
    first.unlink()
    with pytest.raises(DatasetNotFoundError, match=rf"1 of the 3 images of voc in voc, first {first.name}"):
        verify_release.check_images(["coco", "voc"], str(tmp_path / "sets"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("datasets=[cocoo]", "there is no such dataset; did you mean coco?; choose among coco, "),
        ("datasets=[coco_80]", "nothing was published of cutler_cascade_final on it"),
        ("datasets=coco", "expected a list"),
        ("checkpoint=dino_RN50_pretrain_d2_format", "nothing was published of such weights; choose one of cutler_"),
        ("recipe.tolerance=-1", "recipe.tolerance=-1"),
    ],
)
def test_refuse_what_was_not_published(command: Command, tmp_path: Path, word: str, said: str) -> None:
    outcome = command("scripts/recipe.py", "recipe=verify_release", f"recipe.output={tmp_path}/out", word)
    assert said in sentence(outcome)
    assert not (tmp_path / "out").exists()


def test_offline_and_changed_files(
    command: Command, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection the sentence says where the file belongs; one that has changed since is refused."""
    monkeypatch.setattr("cutler_pl.runtime.download.time.sleep", lambda _: None)
    server.status = 503
    said = sentence(command("scripts/recipe.py", *words(tmp_path, server)))
    assert "or fetch it where there is a connection and put it at" in said
    server.status = 200
    cached = tmp_path / "cache/checkpoints/cutler_cascade_final.pth"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.with_name(f"{cached.name}.sha256").write_text(f"{'0' * 64}  {cached.name}\n")
    said = sentence(command("scripts/recipe.py", *words(tmp_path, server)))
    assert "is not what" in said
    assert f"recorded {'0' * 64}" in said


def verification(ap50: float, published: float = 21.9) -> Verification:
    metrics: dict[str, dict[str, float]] = {"bbox": {"AP50": ap50, "AR100": 30.0}}
    measured = [MeasuredDataset("coco", "0" * 64, metrics, {"images": 1})]
    numbers: Any = {"coco": {("bbox", "AP50"): published, ("bbox", "AR100"): 30.0}}
    return Verification("w", "0" * 64, numbers, measured, 0.1, {})


@pytest.mark.parametrize(
    ("ap50", "verdict"),
    [
        (21.9, "reproduced"),
        (22.049, "reproduced"),
        (21.76, "reproduced"),
        (22.06, "differs"),
        (21.7, "differs"),
        (-1.0, "not measured"),
    ],
)
def test_verdict_of_rounded_numbers(ap50: float, verdict: str) -> None:
    assert verification(ap50).verdict_of("coco") == verification(ap50).verdict_of() == verdict


def test_numbers_of_the_published_tables() -> None:
    assert published_numbers("cutler_cascade_final")["voc"] == {("bbox", "AP50"): 36.9, ("bbox", "AR100"): 44.3}
    assert published_numbers("cutler_mrcnn_final")["coco"][("bbox", "AP50")] == 21.1
    assert published_numbers("cutler_semi_10perc") == {"coco_80": {("bbox", "AP"): 32.2, ("segm", "AP"): 28.1}}
    assert published_numbers("cutler_fully_100perc")["coco_80"][("segm", "AP")] == 38.5
    assert published_numbers("cutler_cascade_r1") == {}
