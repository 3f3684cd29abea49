"""A setting that the chosen path does not read is an error; what is declared so is what is so."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.commands.unused import UNUSED, check_used, unused_settings
from cutler_pl.errors import ConfigError
from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import MODEL_CONFIG_KEY, detector_config
from cutler_pl.runtime.config_tree import config_dir

from .conftest import SMALL
from .read_settings import leaves, recorded

FREE = {"paths.root_dir", "name"}
"""Read by Hydra, for the folder of a run or of a sweep."""


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    register_params()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, a COCO file of them, results for it, and a checkpoint of an untrained detector of one class."""
    root = tmp_path_factory.mktemp("inputs")
    (root / "images").mkdir()
    values = np.random.default_rng(0)
    records = []
    for number in (1, 2):
        pixels = values.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        records.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 64})
    box = {"bbox": [4, 4, 30, 20], "area": 600, "iscrowd": 0, "category_id": 1}
    box["segmentation"] = [[4, 4, 34, 4, 34, 24, 4, 24]]
    annotations = [{**box, "id": number, "image_id": number} for number in (1, 2)]
    coco = {"images": records, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (root / "coco.json").write_text(json.dumps(coco))
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, **{**SMALL, "backbone": "resnet50"})
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    config = detector_config(model, category_ids=[1], class_names=["object"])
    torch.save({"state_dict": state, MODEL_CONFIG_KEY: config}, root / "small.ckpt")
    return root


CPU = ("trainer=cpu", "num_workers=0")
MASKCUT = ("input={in}/images", "output={out}", "maskcut=patch_descriptors", "maskcut.fixed_size=64", *CPU)
ONE = ("checkpoint={in}/small.ckpt",)
GIVEN = ("annotations={in}/coco.json", "output={out}")
TRAIN = (
    "experiment=quickstart", "data.images={in}/images", "data.annotations={in}/coco.json", "data.num_workers=0",
    "data.batch_size=2", "data.train_sizes=[48]", "data.max_size=64", "trainer.max_steps=1",
    "callbacks.precise_bn=null", "callbacks.visual_samples=null", "paths.output_dir={out}",
)  # fmt: skip
RUNS = {
    "maskcut": ("maskcut", *MASKCUT),
    "maskcut, figures": ("maskcut", *MASKCUT, "overlays=true"),
    "maskcut, no refinement": ("maskcut", *MASKCUT, "crf.backend=none"),
    "maskcut, guided": ("maskcut", *MASKCUT, "crf.backend=guided", "maskcut.stop=foreground"),
    "maskcut, promerge": ("maskcut", *MASKCUT, "generator=promerge"),
    "maskcut, split": ("maskcut", *MASKCUT, "annotation.split=watershed"),
    "merge_shards, sources": ("merge_shards", "output={out}", "sources=[{in}/coco.json]"),
    "predict": ("predict", *ONE, "input={in}/images", "output={out}", *CPU),
    "predict, no figures": ("predict", *ONE, "input={in}/images", "output={out}", "overlays=false", *CPU),
    "self_train": ("self_train", *ONE, "images={in}/images", *GIVEN, *CPU),
    "self_train, predictions": ("self_train", "predictions={in}/coco.json", *GIVEN),
    "evaluate": ("evaluate", *ONE, "images={in}/images", *GIVEN, *CPU),
    "evaluate, predictions": ("evaluate", "predictions={in}/coco.json", *GIVEN),
    "evaluate, classes": ("evaluate", "predictions={in}/coco.json", "images={in}/images", "eval=per_class", *GIVEN),
    "make_coco_splits": ("make_coco_splits", *GIVEN, "percents=[50]"),
    **{
        f"export_labels, {name}": ("export_labels", "images={in}/images", *GIVEN, f"format={name}")
        for name in ("coco", "yolo", "cvat", "labelstudio", "labelme", "fiftyone")
    },
    "discover": ("discover", "images={in}/images", *GIVEN, "maskcut=patch_descriptors"),
    "discover, k": ("discover", "images={in}/images", *GIVEN, "maskcut=patch_descriptors", "k=2"),
    "quality": ("quality", "images={in}/images", *GIVEN),
    "quality, other features": ("quality", "images={in}/images", *GIVEN, "agreement=patch_descriptors"),
    "quality, one run": ("quality", "images={in}/images", *GIVEN, "agreement=null"),
    "convert_checkpoint": ("convert_checkpoint", "source={in}/small.ckpt", "output={out}/a.pth"),
    "convert_checkpoint, ResNet": (
        "convert_checkpoint", "source={in}/small.ckpt", "output={out}/a.pth", "format=torchvision",
    ),
    "weights": ("weights",),
    "serve": ("serve", *ONE, "port=0"),
    "train": ("train", *TRAIN),
    "train, validation": (
        "train", *TRAIN, "data=folder", "data/validation=folder", "data.validation.images={in}/images",
        "data.validation.annotations={in}/coco.json",
    ),
}  # fmt: skip
"""Paths through the commands."""


def test_every_command_declares_what_it_ignores() -> None:
    assert list(UNUSED) == list(COMMANDS)


@pytest.mark.parametrize("path", RUNS)
def test_unread_settings_are_declared(path: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, *words = RUNS[path]
    overrides = [word.format(**{"in": inputs, "out": tmp_path / "out"}) for word in words]
    cfg = compose(command, overrides=overrides)
    check_used(command, cfg, overrides)
    if command == "serve":  # until a signal comes
        monkeypatch.setattr("cutler_pl.web.api.server.Server.run", lambda server, sockets: None)
    with recorded(monkeypatch) as read:
        import_module(f"cutler_pl.commands.{command}").run(cfg)
    declared = [name for unused in unused_settings(command, cfg) for name in unused.settings]
    unread = leaves(cfg) - read - FREE
    assert {n for n in unread if not any(n == d or n.startswith(f"{d}.") for d in declared)} == set()


REFUSED = {
    "maskcut": ("maskcut=dino_vits8", "input=.", "output=o"),
    "predict": ("checkpoint=a.ckpt", "input=.", "output=o"),
    "calibrate": ("maskcut=dino_vits8", "images=.", "output=o"),
}
CASES = [
    ("maskcut", "crf.guided.radius=9", "only crf.backend=guided has them"),
    ("maskcut crf.backend=guided", "crf.params.iterations=3", "crf.guided"),
    ("maskcut crf.backend=none", "crf.params.iterations=3", "refines no mask"),
    ("maskcut", "maskcut.max_border=0.2", "stop"),
    ("maskcut generator=promerge", "maskcut.tau=0.3", "only generator=maskcut cuts with it"),
    ("maskcut generator=votecut", "maskcut.features.layer=3", "maskcut.backbones says which features"),
    ("maskcut compare=[promerge]", "maskcut.tau=0.3", "compare= does not name maskcut"),
    ("maskcut", "annotation.score_map=[[0.2,0.3]]", "only annotation.scores=true"),
    ("calibrate", "metric=AP", "annotations= is not given"),
    ("calibrate annotations=a.json", "thresholds.fill=0.3", "decide by AP"),
    ("maskcut maskcut.features.heads=object", "maskcut.features.feature=value", "heads takes all three"),
    ("serve checkpoint=a.ckpt", "maskcut.features.cache=c", "the API writes nothing"),
    ("maskcut", "logger=csv", "only trainings log"),
    ("maskcut", "trainer.max_steps=5", "nothing is trained"),
    ("maskcut", "paths.datasets=elsewhere", "catalogue"),
    ("maskcut", "+speed=9", "no such setting"),
    ("predict overlays=false", "overlay_score=0.5", "draws nothing"),
    ("predict", "overlap=0.5", "cuts no image"),
    ("predict tta=flip tta.merge=weighted_boxes", "tta.sigma=0.4", "only soft_nms"),
    ("predict tta=flip", "tta.decay_iou=0.4", "only tta.decay=linear"),
    ("evaluate predictions=p.json annotations=a.json", "tta=flip", "measured as they are"),
    ("predict model=cascade_mask_rcnn", "model.init=scratch", "checkpoint"),
    ("predict model=cascade_mask_rcnn", "model.detector.roi_batch_per_image=8", "nothing is trained"),
    ("evaluate predictions=p.json annotations=a.json", "batch_size=4", "measured as they are"),
    ("evaluate predictions=p.json annotations=a.json", "trainer=ddp", "measured as they are"),
    ("evaluate predictions=p.json annotations=a.json", "model=cascade_mask_rcnn", "measured as they are"),
    ("evaluate predictions=p.json annotations=a.json", "num_examples=3", "images="),
    ("evaluate predictions=p.json annotations=a.json images=.", "eval.per_category=true", "one category"),
    ("evaluate checkpoint=c.ckpt eval=zero_shot_11", "images=.", "catalogue"),
    ("self_train predictions=p.json annotations=a.json", "keep_score=0.2", "merged as they are"),
    ("self_train predictions=p.json annotations=a.json", "checkpoint=a.ckpt", "merged as they are"),
    ("self_train predictions=p.json annotations=a.json", "trainer=ddp", "merged as they are"),
    ("discover k=3", "max_k=9", "k= is given"),
    ("discover method=hdbscan", "k=4", "finds the number"),
    ("discover", "min_cluster_size=9", "only method=hdbscan"),
    ("discover maskcut=patch_descriptors", "maskcut.tau=0.3", "none is cut"),
    ("quality agreement=null", "agreement_images=3", "no second run"),
    ("quality", "agreement_weights=a.pth", "another backbone"),
    ("prepare_dataset name=voc root=.", "mirror=https://a.b", "fetch=true"),
    ("prepare_dataset name=voc fetch=true", "num_examples=1", "as it is"),
    ("make_coco_splits released=a.zip", "seed=4", "released="),
    ("merge_shards output=o sources=[a]", "allow_missing=true", "sources="),
    ("convert_checkpoint source=a output=b.pth format=torchvision", "num_classes=3", "ResNet alone"),
    ("train experiment=quickstart data.images=i data.annotations=a", "model.reset_head=true", "scratch"),
    ("train experiment=quickstart data.images=i data.annotations=a", "paths.datasets=d", "no file of the catalogue"),
    ("own images=i output=o maskcut=patch_descriptors", "weights=w.pth", "patch_descriptors has none"),
    ("own images=i output=o maskcut=patch_descriptors", "fallback=patch_descriptors", "patch_descriptors needs none"),
]


@pytest.mark.parametrize(("line", "given", "reason"), CASES)
def test_setting_without_effect_is_refused(line: str, given: str, reason: str) -> None:
    command, *words = line.split()
    overrides = [*REFUSED.get(command, ()), *words, given]
    with pytest.raises(ConfigError, match="this run does not read it") as caught:
        check_used(command, compose(command, overrides=overrides), overrides)
    assert str(caught.value).startswith(given)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "maskcut maskcut=dino_vits8 crf.guided.radius=32 logger=none trainer.max_steps=-1",
        "evaluate predictions=p.json annotations=a.json batch_size=1 trainer=auto num_examples=6",
        "evaluate predictions=p.json annotations=a.json images=. num_examples=3",
        "maskcut maskcut=dino_vits8 generator=votecut maskcut.features.cache=c",
        "maskcut maskcut=dino_vits8 trainer=ddp +trainer.detect_anomaly=true",
        "train experiment=quickstart data.images=i data.annotations=a +my.lr=0.1 optimizer.lr=${my.lr}",
    ],
)
def test_defaults_and_used_settings_pass(line: str) -> None:
    command, *overrides = line.split()
    check_used(command, compose(command, overrides=overrides), overrides)
