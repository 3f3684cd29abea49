"""Settings that a command does not read on the path its other settings choose: giving one is an error."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.overrides import ABSENT, value_at
from cutler_pl.commands.unused_rules import Unused, differs, equals, is_given, not_given, not_named
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.crf.params import CrfParams
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.models.config import TRAIN_OPTIONS
from cutler_pl.runtime.config_tree import config_dir


def check_used(
    command: str, cfg: DictConfig, overrides: Sequence[str], *, given: Collection[str] | None = None
) -> None:
    """Check that every override is read, or changes nothing; call it while Hydra is initialized.

    Args:
        cfg: What the command was composed to.
        overrides: The settings given, as on a command line.
        given: Names of those that the user gave, where a recipe gave others; all by default.

    Raises:
        ConfigError: A setting is given another value than its default, and nothing would read it.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for position, override in enumerate(parsed):
        if given is not None and override.key_or_group not in given:
            continue
        key = override.key_or_group.replace("/", ".")
        reason = _reason(command, cfg, override, key)
        if reason is None:
            continue
        try:
            default = value_at(compose(command, overrides=[*overrides[:position], *overrides[position + 1 :]]), key)
        except ConfigCompositionException:  # another setting is of this option
            default = ABSENT
        if value_at(cfg, key) != default:
            raise ConfigError(f"{override.input_line}: this run does not read it, as {reason}; leave it out")


def unused_settings(command: str, cfg: DictConfig) -> Iterator[Unused]:
    """The declarations that hold for a config."""
    return (unused for unused in UNUSED[command] if unused.when(cfg))


def _reason(command: str, cfg: DictConfig, override: Override, key: str) -> str | None:
    if override.is_delete() or key.startswith("hydra."):
        return None
    settings = _leaves(key, value_at(cfg, key))
    for unused in unused_settings(command, cfg):
        if all(any(_below(name, declared) for declared in unused.settings) for name in settings):
            return unused.reason
    if (override.is_add() or override.is_force_add()) and not _is_read(cfg, key):
        return f"{command} has no such setting"
    return None


def _below(name: str, setting: str) -> bool:
    return name == setting or name.startswith(f"{setting}.")


def _leaves(key: str, value: Any) -> list[str]:
    """The setting, or the settings that a group holds."""
    if not isinstance(value, dict) or not value:
        return [key]
    return [leaf for name, part in value.items() for leaf in _leaves(f"{key}.{name}", part)]


def _is_read(cfg: DictConfig, key: str) -> bool:
    """Whether an added setting is an option of the tree, a part of something to build, or named by another setting."""
    if (config_dir() / key.replace(".", "/")).is_dir() or f"${{{key}" in OmegaConf.to_yaml(cfg):
        return True
    parts = key.split(".")
    above = (value_at(cfg, ".".join(parts[:length])) for length in range(1, len(parts) + 1))
    return any(isinstance(value, dict) and "_target_" in value for value in above)


_DATASETS = Unused(("paths.datasets",), "no dataset of the catalogue is used")
_OUTPUT_DIR = Unused(("paths.output_dir",), "output= says where it writes")
_PATHS = (_DATASETS, _OUTPUT_DIR)
_LOGGER = Unused(("logger",), "only trainings log metrics")
_TRAINING = Unused(
    tuple(
        f"trainer.{name}"
        for name in (
            "max_steps", "min_steps", "max_epochs", "min_epochs", "max_time", "val_check_interval",
            "check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps", "accumulate_grad_batches",
            "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches",
            "overfit_batches", "sync_batchnorm", "enable_checkpointing",
        )
    ),
    "nothing is trained",
)  # fmt: skip
_RUN = (*_PATHS, _LOGGER, _TRAINING)
_START = Unused(("model.init", "model.init_from", "model.reset_head"), "the weights are those of the checkpoint")
_LOSSES = Unused(tuple(f"model.detector.{name}" for name in sorted(TRAIN_OPTIONS)), "nothing is trained")
_DETECTOR = (_START, _LOSSES)
_TILES = Unused(("overlap",), "tile=null cuts no image", not_given("tile"))
_TTA = (
    Unused(("tta.decay", "tta.sigma", "tta.decay_iou"), "only soft_nms has it", differs("tta.merge", "soft_nms")),
    Unused(("tta.sigma",), "only tta.decay=gaussian has it", differs("tta.decay", "gaussian")),
    Unused(("tta.decay_iou",), "only tta.decay=linear compares with it", differs("tta.decay", "linear")),
)
_EXPORTED = Unused(
    ("exported",), "only backend=onnx and openvino read exported networks", equals("backend", "torch", "winograd")
)
_REFINEMENT = tuple(f"crf.params.{field.name}" for field in fields(CrfParams) if field.name != "min_iou")
_CUT = ("maskcut.solver", "maskcut.backbones", *(f"maskcut.{field.name}" for field in fields(MaskCutParams)))
_ONE_BACKBONE = tuple(
    f"maskcut.features.{name}" for name in ("name", "weights", "layer", "feature", "pos_embed", "patch_size", "heads")
)
_ONE_BY_ONE = (
    "overlays", "tile", "overlap", "batch_size", "num_workers", "threads", "job", "callbacks", "trainer.devices",
    "trainer.num_nodes", "trainer.strategy", "trainer.precision",
)  # fmt: skip
_NO_DETECTOR = (
    "batch_size", "num_workers", "score_threshold", "nms_threshold", "max_detections", "min_size_test",
    "max_size_test", "tile", "overlap", "tta", "backend", "exported", "num_classes",
    "model", "trainer", "callbacks",
)  # fmt: skip

_GENERATOR = (
    Unused(
        tuple(name for name in _CUT if name != "maskcut.backbones"),
        "only generator=maskcut cuts with it; the options of others are generator.*",
        is_given("generator._target_"),
    ),
    Unused(("maskcut.features.feature",), "features.heads takes all three", is_given("maskcut.features.heads")),
    Unused(_ONE_BACKBONE, "maskcut.backbones says which features", is_given("maskcut.backbones")),
    Unused(("crf.params",), "crf.backend=guided has its own, crf.guided.*", equals("crf.backend", "guided")),
    Unused(_REFINEMENT, "crf.backend=none refines no mask", equals("crf.backend", "none")),
    Unused(("crf.guided",), "only crf.backend=guided has them", differs("crf.backend", "guided")),
    Unused(("annotation.watershed",), "only split=watershed reads them", differs("annotation.split", "watershed")),
    Unused(
        ("maskcut.max_ncut_value",),
        "only maskcut.stop=ncut_value and adaptive compare with it",
        differs("maskcut.stop", "ncut_value", "adaptive"),
    ),
    Unused(
        ("maskcut.max_border",),
        "only maskcut.stop=foreground and adaptive compare with it",
        differs("maskcut.stop", "foreground", "adaptive"),
    ),
    Unused(
        ("annotation.score_map",),
        "only annotation.scores=true writes scores",
        lambda cfg: not cfg.annotation.scores and OmegaConf.select(cfg, "compare") is None,
    ),
)

UNUSED: dict[str, tuple[Unused, ...]] = {
    "quickstart": _PATHS,
    "own": (
        *_PATHS,
        Unused(("weights",), "patch_descriptors has none", equals("maskcut.features.name", "patch_descriptors")),
        Unused(("fallback",), "patch_descriptors needs none", equals("maskcut.features.name", "patch_descriptors")),
    ),
    "maskcut": (
        *_RUN, _TILES,
        Unused(("compare_images",), "compare= is not given", not_given("compare")),
        Unused(("generator",), "compare= names the generators", is_given("compare")),
        Unused(("annotation.scores",), "compare= always writes scores", is_given("compare")),
        Unused(_ONE_BY_ONE, "compare= looks at a few images, one at a time, on one device", is_given("compare")),
        Unused(
            tuple(name for name in _CUT if name != "maskcut.backbones"),
            "compare= does not name maskcut; the options of others are generator.*",
            lambda cfg: cfg.compare is not None and "maskcut" not in cfg.compare,
        ),
        *_GENERATOR,
    ),
    "merge_shards": (
        *_PATHS,
        Unused(("allow_missing",), "sources= do not say which images there should be", is_given("sources")),
    ),
    "quality": (
        *_PATHS,
        Unused(("agreement_images",), "agreement=null has no second run", not_given("agreement")),
        Unused(("agreement_weights",), "only another backbone has other weights", equals("agreement", None, "tau")),
    ),
    "calibrate": (
        *_PATHS,
        *_GENERATOR,
        Unused(("metric", "score_map"), "annotations= is not given", not_given("annotations")),
        Unused(("thresholds",), "annotations= decide by AP", is_given("annotations")),
        Unused(("annotation.score_map",), "calibrate fits one"),
        Unused(("annotation.scores",), "calibrate writes scores where it fits a map of them"),
    ),
    "train": (
        Unused(("paths.datasets",), "no file of the catalogue is used", not_named("paths.datasets")),
        Unused(("model.init_from",), "it is a text of messages"),
        Unused(("model.reset_head",), "model.init=scratch loads no head", equals("model.init", "scratch")),
        Unused(("callbacks.coco_evaluator",), "data/validation=none has no images", not_given("data.validation")),
        Unused(("data.relative_scores",), "only soft targets read scores", not_given("model.detector.soft_targets")),
    ),
    "self_train": (
        *_RUN, *_DETECTOR, _TILES, *_TTA, _EXPORTED,
        Unused(
            (*_NO_DETECTOR, "checkpoint", "images", "keep_score"),
            "predictions= are merged as they are",
            is_given("predictions"),
        ),
    ),
    "predict": (
        *_RUN, *_DETECTOR, _TILES, *_TTA, _EXPORTED,
        Unused(("overlay_score",), "overlays=false draws nothing", not_given("overlays", "track")),
        Unused(("show",), "overlays=false draws nothing", not_given("overlays")),
    ),
    "evaluate": (
        _OUTPUT_DIR, _LOGGER, _TRAINING, *_DETECTOR, _TILES, *_TTA, _EXPORTED,
        Unused(_NO_DETECTOR, "predictions= are measured as they are", is_given("predictions")),
        Unused(("eval.datasets", "paths.datasets"), "annotations= replaces the catalogue", is_given("annotations")),
        Unused(("images", "dataset"), "the catalogue says it of its datasets", not_given("annotations")),
        Unused(
            ("num_examples",),
            "examples are drawn on images=, which is not given",
            lambda cfg: cfg.annotations is not None and cfg.images is None,
        ),
        Unused(("eval.per_category",), "eval.class_agnostic=true has one category", is_given("eval.class_agnostic")),
    ),
    "demo": _PATHS,
    "serve": (
        *_PATHS,
        Unused(("maskcut.backbones",), "the API cuts with the features of maskcut="),
        Unused(("maskcut.features.cache",), "the API writes nothing"),
    ),
    "export": (*_PATHS, *_DETECTOR),
    "recipe": (
        _OUTPUT_DIR,
        Unused(("paths.datasets",), "no dataset of the catalogue is used", not_named("paths.datasets")),
    ),
    "prepare_dataset": (
        _OUTPUT_DIR,
        Unused(
            (
                "annotations", "images", "check_images", "marked", "splits", "ids", "synsets", "max_failure_rate",
                "num_examples", "overwrite",
            ),
            "fetch=true takes the released file as it is",
            is_given("fetch"),
        ),
        Unused(("mirror",), "nothing is downloaded without fetch=true", not_given("fetch")),
    ),
    "make_coco_splits": (
        _OUTPUT_DIR,
        Unused(
            ("seed", "nested"), "released= says which images are taken", is_given("released")
        ),
        Unused(("nested",), "lists= says which images are taken", is_given("lists")),
        Unused(("paths.datasets",), "annotations= and output= replace it", is_given("annotations", "output")),
    ),
    "discover": (
        *_PATHS,
        Unused(_CUT, "masks are given, none is cut"),
        Unused(("k", "max_k"), "method=hdbscan finds the number of clusters", equals("method", "hdbscan")),
        Unused(("max_k",), "k= is given", is_given("k")),
        Unused(("min_cluster_size",), "only method=hdbscan has it", differs("method", "hdbscan")),
    ),
    "export_labels": (
        *_PATHS,
        Unused(("masks",), "format=yolo has polygons only", equals("format", "yolo")),
        Unused(("image_files",), "only format=yolo has the images beside its labels", differs("format", "yolo")),
        Unused(("image_data",), "only format=labelme can hold images", differs("format", "labelme")),
        Unused(("image_url", "model_version"), "only format=labelstudio has it", differs("format", "labelstudio")),
        Unused(("checkpoint",), "only format=cvat runs a detector", differs("format", "cvat")),
    ),
    "weights": (
        *_PATHS,
        Unused(
            ("repository", "output", "private", "run", "evaluation", "license"),
            "upload= is not given",
            not_given("upload"),
        ),
        Unused(("private",), "repository= is not given", not_given("repository")),
        Unused(("download",), "upload= publishes other weights", is_given("upload")),
    ),
    "convert_checkpoint": (
        *_PATHS, *_DETECTOR,
        Unused(("model", "num_classes"), "format=torchvision takes the ResNet alone", equals("format", "torchvision")),
    ),
    "doctor": (),
    "completion": (),
}  # fmt: skip
"""By command, what is not read and when."""
