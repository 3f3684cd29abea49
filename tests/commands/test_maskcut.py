import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cutler_pl.cli import CONFIG_DIR
from cutler_pl.coco.io import load_coco
from cutler_pl.commands import maskcut, merge_shards
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.images import read_image


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield


@pytest.fixture
def photos(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    folder = "my photos (1), new [old]"
    for seed, name in enumerate(["a/one.jpg", "a/two.png", "three.jpg"]):
        path = write_image(f"{folder}/{name}", (48, 64), seed=seed)
        pixels = read_image(path) // 4 + 100  # noise on grey, with a bright square
        pixels[10:30, 20:45] = (250, 200, 20)
        Image.fromarray(pixels).save(path)
    return tmp_path / folder


def config(name: str, **overrides: object) -> DictConfig:
    return compose(name, [f"{key.replace('__', '.')}={_quoted(value)}" for key, value in overrides.items()])


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, Path) else str(value)


def maskcut_config(source: Path, output: Path, **overrides: object) -> DictConfig:
    small = {"maskcut": "patch_descriptors", "maskcut__fixed_size": 64, "num_workers": 0, "trainer": "cpu"}
    return config("maskcut", input=source, output=output, **{**small, **overrides})


def test_a_folder_becomes_annotations_pictures_and_a_record_of_the_run(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "found (1), [2]"
    caplog.set_level("INFO", "cutler_pl")
    assert maskcut.run(maskcut_config(photos, output, overlays="true")) == output / "annotations.json"
    coco = load_coco(output / "annotations.json").coco
    assert [image["file_name"] for image in coco["images"]] == ["a/one.jpg", "a/two.png", "three.jpg"]
    assert coco["annotations"]
    assert (output / "failures.jsonl").read_text() == ""
    pictures = ["a/one.jpg", "a/two.png.jpg", "three.jpg"]
    for folder in ("overlays", "steps"):
        found = sorted(p.relative_to(output / folder).as_posix() for p in (output / folder).rglob("*.jpg"))
        assert found == pictures
    overlay = read_image(output / "overlays/three.jpg").astype(int)
    assert overlay.shape == (48, 64, 3)
    assert np.abs(overlay - read_image(photos / "three.jpg")).max() > 30  # something is drawn
    height, width, _ = read_image(output / "steps/three.jpg").shape
    assert width > 6 * height  # photo, three eigenvectors, masks before and after
    assert re.search(r"3 images, \d+ annotations", caplog.text)
    assert re.search(r"found and then dropped: \d+ ", caplog.text)
    page = (output / "index.html").read_text()
    assert "steps/a/one.jpg" in page
    assert "3 of 3 images" in page
    assert "patch_descriptors" in (output / "config.yaml").read_text()
    assert json.loads((output / "run.json").read_text())["commit"]


def test_pictures_can_be_asked_for_later(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    maskcut.run(maskcut_config(photos, output))
    before = (output / "annotations.json").read_bytes()
    assert not (output / "overlays").exists()
    maskcut.run(maskcut_config(photos, output, overlays="true"))
    assert len(list((output / "overlays").rglob("*.jpg"))) == 3
    assert (output / "annotations.json").read_bytes() == before


def test_features_must_be_chosen_and_the_choice_is_explained(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dino_vitb8 .*weights.*patch_descriptors \(needs no weights"):
        maskcut.run(config("maskcut", input=photos, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_and_an_empty_folder_are_errors(tmp_path: Path, empty: bool) -> None:
    if empty:
        (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetNotFoundError, match="photos: "):
        maskcut.run(maskcut_config(tmp_path / "photos", tmp_path / "out"))


def test_a_size_that_does_not_fit_the_patches_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fixed_size=60 is not a multiple of the patch size 8"):
        maskcut.run(maskcut_config(photos, tmp_path / "out", maskcut__fixed_size=60))


def test_array_jobs_take_their_number_from_slurm(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for index in (1, 0):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        maskcut.run(maskcut_config(photos, tmp_path / "out", job="slurm_array", batch_size=2))
        assert (tmp_path / "out/annotations.json").exists() == (index == 0)


def test_shards_are_merged_again_and_missing_images_are_an_error(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    maskcut.run(maskcut_config(photos, output, batch_size=1))
    before = (output / "annotations.json").read_bytes()
    (output / "annotations.json").unlink()
    assert merge_shards.run(config("merge_shards", output=output)).read_bytes() == before
    (shard,) = (output / "shards").glob("*.jsonl")
    shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(AnnotationError, match=r"1 of 3 images are in no shard \(three\.jpg\)"):
        merge_shards.run(config("merge_shards", output=output))
    merge_shards.run(config("merge_shards", output=output, allow_missing="true"))
    assert len(load_coco(output / "annotations.json").coco["images"]) == 2


@pytest.mark.golden
def test_golden_json_files_of_the_original_are_merged(golden_dir: Path, tmp_path: Path) -> None:
    jobs = golden_dir / "maskcut/pipeline/jobs"
    merged = merge_shards.run(config("merge_shards", output=tmp_path, sources=f"['{jobs}']"))
    assert len(load_coco(merged).coco["annotations"]) == 7
    with pytest.raises(ConfigError, match="expected a list"):
        merge_shards.run(config("merge_shards", output=tmp_path, sources=jobs))
