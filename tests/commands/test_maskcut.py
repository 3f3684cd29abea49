import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.confidence import decode
from cutler_pl.coco.index import open_index
from cutler_pl.coco.io import load_coco
from cutler_pl.commands import maskcut, merge_shards
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.images import read_image
from cutler_pl.runtime.config_tree import config_dir

CONFIG_DIR = config_dir()


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield


@pytest.fixture
def images(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
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


def test_folder_to_annotations_and_figures(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "found (1), [2]"
    caplog.set_level("INFO", "cutler_pl")
    assert maskcut.run(maskcut_config(images, output, overlays="true")) == output / "annotations.json"
    coco = load_coco(output / "annotations.json").coco
    assert [image["file_name"] for image in coco["images"]] == ["a/one.jpg", "a/two.png", "three.jpg"]
    assert coco["annotations"]
    assert (output / "failures.jsonl").read_text() == ""
    figures = ["a/one.jpg", "a/two.png.jpg", "three.jpg"]
    for folder in ("overlays", "steps"):
        found = sorted(p.relative_to(output / folder).as_posix() for p in (output / folder).rglob("*.jpg"))
        assert found == figures
    overlay = read_image(output / "overlays/three.jpg").astype(int)
    assert overlay.shape == (48, 64, 3)
    assert np.abs(overlay - read_image(images / "three.jpg")).max() > 30  # something is drawn
    height, width, _ = read_image(output / "steps/three.jpg").shape
    assert width > 6 * height  # image, three eigenvectors, masks before and after
    assert re.search(r"3 images, \d+ annotations", caplog.text)
    assert re.search(r"found and then dropped: \d+ ", caplog.text)
    page = (output / "index.html").read_text()
    assert "steps/a/one.jpg" in page
    assert "3 of 3 images" in page
    assert "patch_descriptors" in (output / "config.yaml").read_text()
    assert json.loads((output / "run.json").read_text())["commit"]


def test_draw_figures_in_a_later_run(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    maskcut.run(maskcut_config(images, output))
    before = (output / "annotations.json").read_bytes()
    assert not (output / "overlays").exists()
    maskcut.run(maskcut_config(images, output, overlays="true"))
    assert len(list((output / "overlays").rglob("*.jpg"))) == 3
    assert (output / "annotations.json").read_bytes() == before


@pytest.mark.parametrize("tile", ["null", "80"])
def test_split_touching_objects(tmp_path: Path, tile: str) -> None:
    """Two bright discs of one color that touch, on dark ground."""
    rows, columns = np.mgrid[:128, :128]
    discs = [(rows - 64) ** 2 + (columns - x) ** 2 <= 24**2 for x in (42, 86)]
    pixels = np.full((128, 128, 3), 30, dtype=np.uint8)
    pixels[discs[0] | discs[1]] = (230, 200, 40)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/a.png")
    settings = {"maskcut__fixed_size": 128, "maskcut__num_masks": 1, "tile": tile, "overlap": 0.4}
    found = {}
    for split in ("none", "watershed"):
        config = maskcut_config(tmp_path / "images", tmp_path / split, annotation__split=split, **settings)
        found[split] = load_coco(maskcut.run(config)).coco["annotations"]
    assert not any("split_from" in annotation for annotation in found["none"])
    masks = [rle.decode(annotation["segmentation"]) for annotation in found["watershed"]]
    if tile == "null":
        assert (len(found["none"]), len(masks)) == (1, 2)
        for disc in discs:
            assert max((mask & disc).sum() / (mask | disc).sum() for mask in masks) > 0.9


@pytest.mark.parametrize(
    ("generator", "keys"),
    [
        ("promerge", {"seeds"}),
        ("uniap", {"levels"}),
        ("hassod", {"number", "parent"}),
        ("votecut", {"votes"}),
    ],
)
def test_generator_writes_scores_and_provenance(images: Path, tmp_path: Path, generator: str, keys: set[str]) -> None:
    sides = {"maskcut__fixed_size": 144, "crf__backend": "guided"}
    options = {"generator": generator, "generator__min_patches": 4, "overlays": "true", **sides}
    maskcut.run(maskcut_config(images, tmp_path / "out", **options))
    coco = load_coco(tmp_path / "out/annotations.json").coco
    assert coco["annotations"]
    for annotation in coco["annotations"]:
        assert keys <= {*annotation}
        assert 0 <= annotation["score"] <= 1
    assert json.loads((tmp_path / "out/shards/parameters.json").read_text())["generator"] == generator


def test_cached_features_give_the_same_masks(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cutler_pl")
    sides = {"maskcut__fixed_size": 48, "crf__backend": "none", "generator": "votecut", "batch_size": 2}
    settings = {**sides, "maskcut__features__cache": tmp_path / "cache"}
    first, second = (maskcut.run(maskcut_config(images, tmp_path / name, **settings)) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert len(list((tmp_path / "cache").glob("patch_descriptors_*/??/*.npy"))) == 3 * 3
    assert caplog.text.count("features of 0 images read, of 3 computed") == 3
    assert caplog.text.count("features of 3 images read, of 0 computed") == 3
    moved = {**sides, "maskcut__features__cache": tmp_path / "other"}
    maskcut.run(maskcut_config(images, tmp_path / "a", **moved))
    with pytest.raises(ConfigError, match="feature_precision=float16 where None is asked for now"):
        maskcut.run(maskcut_config(images, tmp_path / "a", **sides))


def test_refuse_cache_of_one_backbone(images: Path, tmp_path: Path) -> None:
    several = {"maskcut__backbones": f"[{{name: patch_descriptors, cache: {tmp_path.name}}}]", "generator": "votecut"}
    with pytest.raises(ConfigError, match=r"share a cache; give maskcut\.features\.cache=<folder>"):
        maskcut.run(maskcut_config(images, tmp_path / "out", **several))


def test_refuse_cache_of_features_without_weights(images: Path, tmp_path: Path) -> None:
    """Of the user's own: nothing tells when they are others."""
    cfg = maskcut_config(images, tmp_path / "out", maskcut__features__cache=tmp_path / "cache")
    cfg.maskcut.features._target_ = "types.SimpleNamespace"
    with pytest.raises(ConfigError, match=r"features\.cache: types\.SimpleNamespace is no module of weights"):
        maskcut.run(cfg)


@pytest.mark.parametrize("generator", ["maskcut", "uniap"])
def test_confidence_of_perturbed_cuts(images: Path, tmp_path: Path, generator: str) -> None:
    """Masks have maps that the index reads, inside the image; the masks are those of a run without."""
    sides = {"maskcut__fixed_size": 64, "crf__backend": "none", "generator": generator}
    plain = load_coco(maskcut.run(maskcut_config(images, tmp_path / "plain", **sides))).coco
    more = {"confidence": "perturbed_cuts", "confidence__shifts": "[-0.3,0.2]", "overlays": "true"}
    path = maskcut.run(maskcut_config(images, tmp_path / "out", **sides, **more))
    annotations = load_coco(path).coco["annotations"]
    found = [annotation.pop("confidence_map", None) for annotation in annotations]
    assert annotations == plain["annotations"]
    maps = [decode(one) for one in found if one is not None]
    assert maps
    for values, (x, y, width, height) in maps:
        assert {*values.flatten().tolist()} <= {85, 170, 255}  # of three cuts
        assert min(x, y) >= 0
        assert x + width <= 64
        assert y + height <= 48
    index = open_index(path)
    assert sum(len(index.objects(i).confidences) for i in range(len(index))) == len(maps)
    constants = json.loads((tmp_path / "out/shards/parameters.json").read_text())
    assert constants["confidence"] == {"shifts": [-0.3, 0.2], "noise": 0.1, "seed": 0}
    assert "confidence" not in json.loads((tmp_path / "plain/shards/parameters.json").read_text())


def test_refuse_backbones_of_other_generators(images: Path, tmp_path: Path) -> None:
    several = {"maskcut__backbones": "[patch_descriptors,dino_vits8]", "generator": "promerge"}
    with pytest.raises(ConfigError, match="generator=promerge takes one backbone"):
        maskcut.run(maskcut_config(images, tmp_path / "out", **several))


@pytest.mark.parametrize("generator", ["maskcut", "votecut"])
def test_explain_choice_of_features(images: Path, tmp_path: Path, generator: str) -> None:
    with pytest.raises(ConfigError, match=r"dino_vitb8 .*weights.*patch_descriptors \(needs no weights"):
        maskcut.run(config("maskcut", input=images, output=tmp_path / "out", generator=generator))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("empty", [False, True])
def test_refuse_missing_and_empty_folder(tmp_path: Path, empty: bool) -> None:
    if empty:
        (tmp_path / "images").mkdir()
    with pytest.raises(DatasetNotFoundError, match="images: "):
        maskcut.run(maskcut_config(tmp_path / "images", tmp_path / "out"))


def test_refuse_size_that_patches_do_not_divide(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fixed_size=60 is not a multiple of the patch size 8"):
        maskcut.run(maskcut_config(images, tmp_path / "out", maskcut__fixed_size=60))


def test_job_number_comes_from_slurm(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for index in (1, 0):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        maskcut.run(maskcut_config(images, tmp_path / "out", job="slurm_array", batch_size=2))
        assert (tmp_path / "out/annotations.json").exists() == (index == 0)


def test_merge_again_and_report_missing(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    maskcut.run(maskcut_config(images, output, batch_size=1))
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
def test_merge_golden_json_files(golden_dir: Path, tmp_path: Path) -> None:
    jobs = golden_dir / "maskcut/pipeline/jobs"
    merged = merge_shards.run(config("merge_shards", output=tmp_path, sources=f"['{jobs}']"))
    assert len(load_coco(merged).coco["annotations"]) == 7
    with pytest.raises(ConfigError, match="expected a list"):
        merge_shards.run(config("merge_shards", output=tmp_path, sources=jobs))


@pytest.mark.parametrize(
    "batch_size",
    [pytest.param(2, id="shared"), pytest.param(4, id="one rank without images", marks=pytest.mark.slow)],
)
def test_two_processes_equal_one(
    images: Path, tmp_path: Path, write_image: Callable[..., Path], batch_size: int
) -> None:
    write_image(f"{images.name}/four.jpg", (48, 64), seed=4)
    one, two = tmp_path / "one", tmp_path / "two"
    maskcut.run(maskcut_config(images, one))
    words = (
        f"input='{images}'", f"output='{two}'", "maskcut=patch_descriptors", "maskcut.fixed_size=64",
        f"batch_size={batch_size}", "num_workers=0", "trainer=ddp_cpu",
    )  # fmt: skip
    forked.run_ranks(2, CONFIG_DIR.parent / "scripts" / "maskcut.py", *words, folder=tmp_path)
    assert len(list((two / "shards").glob("*-rank-*.jsonl"))) == 4 // batch_size
    assert (two / "annotations.json").read_bytes() == (one / "annotations.json").read_bytes()
