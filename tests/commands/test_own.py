"""`cutler own` as small as it gets: from a folder to the page, what a changed setting redoes, and bad starts."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.recipe.own_images import choose
from cutler_pl.commands.recipe.stages import Stage, fingerprints, read_stages, with_rounds
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.weights import hub, sources

from .conftest import Command
from .test_bad_input import sentence

NETWORK = ", ".join((
    "model.detector.backbone: timm/test_resnet", "model.detector.fpn_channels: 16", "model.detector.box_head_dim: 16",
    "model.detector.mask_head_channels: 8", "model.detector.mask_head_convs: 1", "data.train_sizes: [48]",
    "data.max_size: 64", "data.batch_size: 2", "data.num_workers: 0", "callbacks.precise_bn.num_batches: 1",
))  # fmt: skip
SMALL = (
    "maskcut=patch_descriptors", "maskcut.fixed_size=64", "budget=2s", "recipe.num_workers=0",
    f"recipe.train={{{NETWORK}}}", f"recipe.train_rounds={{{NETWORK}}}", "recipe.self_train={keep_score: 0}",
    "recipe.thresholds=[0.02]", "score_threshold=0.01",
)  # fmt: skip
STAGES = [
    "1_check", "2_masks_0", "3_quality", "4_train_0", "5_masks_1", "6_train_1", "7_predict", "8_labels", "9_page",
]  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "my images (1), new"
    write_scenes(folder, 4, SceneParams(height=48, width=64), seed=0, with_annotations=False)
    return folder


def words(images: Path, *more: str) -> list[str]:
    return [f"images='{images}'", f"output='{images.parent}/out'", *more]


@contextmanager
def composed(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Iterator[list[Stage]]:
    """The stages, as the command makes them of its settings."""
    GlobalHydra.instance().clear()
    register_params()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("own", overrides=[*overrides, "+hydra.runtime.output_dir=."], return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg.copy())
        with open_dict(cfg):
            del cfg["hydra"]
        yield read_stages(with_rounds(choose(cfg)))


def stage_fingerprints(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, str]:
    with composed(monkeypatch, *overrides) as stages:
        return dict(zip((stage.name for stage in stages), fingerprints(stages), strict=True))


def test_folder_becomes_masks_detector_and_page(
    command: Command, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unreadable images are left out; that the weights of DINO cannot be had is said first, last and on the page."""
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    given = words(images, "fallback=patch_descriptors", *SMALL[1:])
    (images / "broken.jpg").write_bytes(b"nothing")
    outcome = command("scripts/own.py", *given)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "stages").iterdir()) == STAGES
    assert "broken.jpg: not readable as an image" in outcome.err
    assert "stage 4 of 9, train_0: " in outcome.err
    said = "so the masks come from color and texture alone (maskcut=patch_descriptors)"
    assert said in outcome.err.splitlines()[0]
    assert said in outcome.err.splitlines()[-1]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert said in page
    assert "broken.jpg" in page
    assert page.count("<img") >= 4 * 4
    assert (out / "stages" / "8_labels" / "annotations.json").is_file()
    spent = [json.loads((out / "stages" / name / "stage.json").read_text())["seconds"] for name in STAGES]
    assert set(json.loads((out / "estimates.json").read_text())) == {name.partition("_")[2] for name in STAGES}
    assert None not in spent

    again = command("scripts/own.py", *given)
    assert again.code == 0, again.err
    assert again.err.count("finished before, kept") == len(STAGES)


CHANGES = {
    "seed=0": "",
    "recipe.num_workers=1": "",
    "format=yolo": "labels page",
    "score_threshold=0.02": "predict labels page",
    "recipe.self_train={keep_score: 0.1}": "masks_1 train_1 predict labels page",
    "budget=5s": "train_0 masks_1 train_1 predict labels page",
    "recipe.quality={agreement_images: 2}": "quality page",
    "recipe.maskcut={annotation.min_area: 0.01}": "masks_0 quality train_0 masks_1 train_1 predict labels page",
}


def test_changed_setting_redoes_what_depends_on_it(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_fingerprints(monkeypatch, *words(images, *SMALL))
    for setting, redone in CHANGES.items():
        after = stage_fingerprints(monkeypatch, *words(images, *SMALL, setting))
        assert [name for name in before if before[name] != after[name]] == redone.split(), setting


def test_changed_folder_redoes_everything(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_fingerprints(monkeypatch, *words(images, *SMALL))
    shutil.copy(images / "scene_00000.png", images / "added.png")
    after = stage_fingerprints(monkeypatch, *words(images, *SMALL))
    assert [name for name in before if before[name] == after[name]] == []


@pytest.mark.parametrize(("gib", "batch", "passes"), [(80, 16, 1), (24, 8, 2), (6, 2, 8)])
def test_gpu_gets_the_network_of_the_paper(
    images: Path, monkeypatch: pytest.MonkeyPatch, gib: int, batch: int, passes: int
) -> None:
    """In as many forward passes per step as its memory asks for; every stage's settings are accepted."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "a GPU")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: SimpleNamespace(total_memory=gib * 2**30))
    monkeypatch.setattr("cutler_pl.commands.recipe.own_images.instantiate", lambda features: None)
    monkeypatch.setattr(sources, "cached_file", lambda address: images / "scene_00000.png")
    with composed(monkeypatch, *words(images)) as stages:
        configs = {stage.name: stage.compose() for stage in stages if stage.pipeline is not None}
    assert configs["masks_0"].maskcut.features.name == "dino_vitb8"
    first, last = configs["train_0"], configs["train_2"]
    assert first.model.detector.name == "cascade_mask_rcnn_r50_fpn"
    assert first.model.init == "dino_RN50_pretrain_d2_format"
    assert [(train.data.batch_size, train.trainer.accumulate_grad_batches) for train in (first, last)] == [
        (batch, passes)
    ] * 2
    seconds = [configs[f"train_{number}"].callbacks.time_budget.seconds for number in range(3)]
    assert sum(seconds) == 7200
    assert (first.trainer.accelerator, first.trainer.devices) == ("gpu", 1)


def test_start_weights_bring_their_network(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with composed(monkeypatch, *words(images, "maskcut=patch_descriptors", "init=tiny_generated")) as stages:
        configs = {stage.name: stage.compose() for stage in stages if stage.pipeline == "train"}
    assert {cfg.model.detector.backbone for cfg in configs.values()} == {"resnet10_half"}
    assert configs["train_0"].model.init == "tiny_generated"
    weights = [cfg.model.detector.classification_weights for cfg in configs.values()]
    assert weights[0] is not None
    assert weights[1] is None


def test_missing_weights_name_both_ways_on(command: Command, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = sentence(command("scripts/own.py", *words(images)))
    assert "give them by weights=<file>" in line
    assert "maskcut=patch_descriptors" in line
    assert not (images.parent / "out").exists()


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("output='{images}/out'", "the next run would take its figures for images"),
        ("output='{above}'", "lies in output="),
        ("images='{above}/none'", "no such file or folder"),
        ("budget=8", "expected a time with its unit, such as 90s, 8min or 2h"),
        ("budget=0s", "expected a time with its unit"),
        ("recipe.device=gpu", "this machine has none"),
        ("format=xml", "format=xml: expected one of"),
    ],
)
def test_bad_starts_get_one_sentence(
    command: Command, images: Path, setting: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    given = setting.format(images=images, above=images.parent)
    assert what in sentence(command("scripts/own.py", *words(images, "maskcut=patch_descriptors", given)))


def test_output_of_other_images_stays(command: Command, images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("recipe: {images: /elsewhere, stages: {check: {}}}")
    before = sorted(tmp_path.rglob("*"))
    line = sentence(command("scripts/own.py", *words(images, "maskcut=patch_descriptors")))
    assert "holds the run of images=/elsewhere" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_images_and_output_are_needed(command: Command) -> None:
    line = sentence(command("scripts/own.py", "maskcut=patch_descriptors"))
    assert "images=<value> output=<value>" in line
