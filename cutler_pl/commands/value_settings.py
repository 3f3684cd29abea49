"""What each plain setting of each command is: settings that no `_target_` owns, and to whom the others belong.

A name may hold patterns: `*` is one part of it, `**` at the end any number of parts.
"""

from typing import get_args

from cutler_pl.commands.registry import COMMANDS
from cutler_pl.commands.value_rules import Free, Group, Rules, fields_of
from cutler_pl.data.loader import LoaderParams
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.datasets.formats import ExportOptions, FormatName
from cutler_pl.discovery.options import DiscoverOptions
from cutler_pl.evaluation import EvalParams
from cutler_pl.maskcut.crf.params import CrfName
from cutler_pl.maskcut.params import MaskCutParams, PerturbedCuts, SolverName
from cutler_pl.models.backends.names import BackendName
from cutler_pl.models.config import DetectorConfig
from cutler_pl.ops.tiles import TileParams
from cutler_pl.pseudo_masks.calibration.options import CalibrationOptions
from cutler_pl.pseudo_masks.options import JobShard, RunOptions
from cutler_pl.pseudo_masks.quality.options import QualityOptions
from cutler_pl.runtime.durations import Duration
from cutler_pl.runtime.ranges import (
    COUNT,
    FLAG,
    SHARE,
    AnyOf,
    Choice,
    Integer,
    ListOf,
    Number,
    Text,
    optional,
    rules_of,
)
from cutler_pl.self_training import RoundOptions
from cutler_pl.web.api.options import ServerOptions
from cutler_pl.web.demo.options import DemoOptions

_GROUP, FREE, _TEXT = Group(), Free(), Text()
_SEED = Integer()
_ON_ERROR = Choice(("raise", "skip"))
_DETECTOR = rules_of(DetectorConfig)
_RUN = rules_of(RunOptions)
_EXAMPLES = Integer(0, 1000)
_PRECISIONS = ("64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed", 64, 32, 16, "64", "32", "16")
_FLAGS = ("sync_batchnorm", "use_distributed_sampler", "enable_checkpointing", "enable_model_summary", "detect_anomaly")

_TILES: Rules = {"tile": optional(rules_of(TileParams)["tile"]), "overlap": rules_of(TileParams)["overlap"]}
_ALL: Rules = {"name": _TEXT, "paths": _GROUP, "paths.*": FREE, "local": FREE}
_TRAINER: Rules = {
    "trainer": _GROUP,
    "trainer.accelerator": Choice(("auto", "cpu", "gpu", "cuda", "mps")),
    "trainer.devices": AnyOf((Choice(("auto", -1)), Integer(1, 1024), ListOf(Integer(0, 1023)))),
    "trainer.num_nodes": Integer(1, 65_536),
    "trainer.strategy": AnyOf((_TEXT, _GROUP)),
    "trainer.precision": Choice(_PRECISIONS),
    "trainer.max_steps": Integer(-1),
    "trainer.max_epochs": optional(Integer(-1)),
    "trainer.log_every_n_steps": COUNT,
    "trainer.val_check_interval": optional(AnyOf((COUNT, Number(above=0, max=1)))),
    "trainer.check_val_every_n_epoch": optional(COUNT),
    "trainer.num_sanity_val_steps": Integer(-1),
    "trainer.limit_val_batches": AnyOf((Integer(0), SHARE)),
    "trainer.accumulate_grad_batches": COUNT,
    **{f"trainer.{name}": FLAG for name in _FLAGS},
    "trainer.**": FREE,
    "callbacks.progress.refresh_rate": Integer(),
    **{name: optional(_GROUP) for name in ("callbacks", "callbacks.*", "logger", "logger.*")},
}
_MODEL: Rules = {
    "model": optional(_GROUP),
    "model.detector": _GROUP,
    "model.detector.name": _TEXT,
    "model.init": FREE,
    "model.init_from": optional(_TEXT),
    "model.reset_head": FLAG,
    "num_classes": optional(_DETECTOR["num_classes"]),
}
_MASKCUT: Rules = {
    "maskcut": optional(_GROUP),
    **fields_of("maskcut.", MaskCutParams),
    "maskcut.fixed_size": _RUN["fixed_size"],
    "maskcut.solver": Choice(get_args(SolverName)),
    "maskcut.features": _GROUP,
    "maskcut.backbones": optional(ListOf(AnyOf((_TEXT, _GROUP)))),
}
_GENERATOR: Rules = {
    **dict.fromkeys(("generator", "crf", "crf.params", "crf.guided", "annotation", "annotation.watershed"), _GROUP),
    "crf.backend": Choice(get_args(CrfName)),
}
_INFERENCE_OPTIONS = ("score_threshold", "nms_threshold", "max_detections", "min_size_test", "max_size_test")
_INFERENCE: Rules = {
    **_ALL,
    **_TRAINER,
    **_MODEL,
    **{name: optional(_DETECTOR[name]) for name in _INFERENCE_OPTIONS},
    **_TILES,
    "tta": optional(_GROUP),
    "backend": Choice(get_args(BackendName)),
    "batch_size": COUNT,
    "num_workers": Integer(),
}
_RECIPE_GROUPS = (
    "maskcut", "quality", "train", "train_rounds", "self_train", "predict", "labels", "evaluate", "round", "documented",
    "estimate", "chosen",
)  # fmt: skip
_OWN: Rules = {
    "budget": optional(Duration()),
    "fallback": optional(Choice(("patch_descriptors",))),
    "score_threshold": SHARE,
    "format": Choice(get_args(FormatName)),
}
_RECIPE: Rules = {
    **_ALL,
    **_MASKCUT,
    "seed": _SEED,
    "only": optional(_TEXT),
    "dry_run": FLAG,
    "datasets": ListOf(_TEXT, 0),
    "recipe": _GROUP,
    **{f"recipe.{name}": COUNT for name in ("max_passes",)},
    **{
        f"recipe.{name}": optional(COUNT)
        for name in ("steps", "steps_round_1", "steps_rounds", "batch_size", "accumulate")
    },
    **{f"recipe.{name}": Integer(1, 1_000_000) for name in ("train_scenes", "test_scenes")},
    "recipe.min_score": SHARE,
    "recipe.tolerance": Number(min=0, max=100),
    **{f"recipe.{name}": rule for name, rule in _OWN.items()},
    "recipe.device": optional(Choice(("cpu", "gpu"))),
    "recipe.first_share": Number(above=0, max=1),
    "recipe.num_workers": optional(Integer()),
    "recipe.one_run": ListOf(_TEXT, 0),
    **{f"recipe.{name}": optional(Number(above=0, max=1e9)) for name in ("seconds", "seconds_rounds")},
    "recipe.num_nodes": COUNT,
    "launch": optional(_GROUP),
    "launch.cluster": Choice(("slurm", "local")),
    **{f"launch.{name}": COUNT for name in ("nodes", "tasks_per_node", "cpus_per_task", "timeout_min")},
    "launch.gpus_per_node": Integer(1),
    "launch.mem_gb": optional(Number(above=0)),
    "launch.signal_delay_s": COUNT,
    "launch.max_num_timeout": Integer(0),
    **{f"launch.{name}": optional(_TEXT) for name in ("partition", "account", "qos", "constraint")},
    "launch.additional_parameters": optional(_GROUP),
    "launch.additional_parameters.*": FREE,
    "recipe.thresholds": optional(ListOf(SHARE, 0)),
    "recipe.own_processes": FLAG,
    **{f"recipe.{name}": optional(_TEXT) for name in ("experiment", "experiment_rounds", "trainer", "run_on", "eval")},
    **{f"recipe.{name}": optional(_GROUP) for name in _RECIPE_GROUPS},
    **{f"recipe.{name}.**": FREE for name in _RECIPE_GROUPS},
    "recipe.closing_lines": ListOf(_TEXT, 0),
    "recipe.stages": _GROUP,
    "recipe.stages.*": _GROUP,
    "recipe.stages.*.pipeline": Choice(tuple(COMMANDS)),
    "recipe.stages.*.overrides": optional(_GROUP),
    "recipe.stages.*.overrides.**": FREE,  # the command of the stage checks them
    "recipe.stages.*.settings": optional(_GROUP),
    "recipe.stages.*.settings.**": FREE,
    "recipe.stages.*.repeat": optional(ListOf(AnyOf((Number(), _TEXT)), 0)),
    "recipe.stages.*.needs": ListOf(_TEXT),
    "recipe.stages.*.stages": _GROUP,
    "recipe.stages.*.stages.**": FREE,
    "recipe.stages.*.call": _GROUP,
    "recipe.*": FREE,  # a recipe's own names of folders and files
}
VALUE_SETTINGS: dict[str, Rules] = {
    "quickstart": _RECIPE,
    "own": {**_RECIPE, **_OWN},
    "maskcut": {
        **_ALL,
        **_TRAINER,
        **_MASKCUT,
        **_TILES,
        **{name: _RUN[name] for name in ("batch_size", "num_workers", "threads", "max_failure_rate")},
        "overlays": FLAG,
        "compare": optional(ListOf(_TEXT)),
        "compare_images": Integer(1, 1000),
        **_GENERATOR,
        "confidence": _GROUP,
        **fields_of("confidence.", PerturbedCuts),
        "job": _GROUP,
        **fields_of("job.", JobShard),
    },
    "merge_shards": {**_ALL, "allow_missing": FLAG},
    "quality": {
        **_ALL,
        **fields_of("", QualityOptions),
        "agreement": optional(_TEXT),
        "thresholds": _GROUP,
        "overwrite": FLAG,
    },
    "calibrate": {
        **_ALL,
        **_MASKCUT,
        **_GENERATOR,
        **fields_of("", CalibrationOptions),
        "thresholds": _GROUP,
        "device": _TEXT,
        "overwrite": FLAG,
    },
    "train": {
        **_ALL,
        **_TRAINER,
        **_MODEL,
        "seed": _SEED,
        "resume": FREE,
        "label_percent": Number(above=0, max=100),
        "label_schedule": optional(_GROUP),
        "label_schedule.**": FREE,  # checked as the settings of optimizer and scheduler
        "data": _GROUP,
        **fields_of("data.", LoaderParams, TrainTransformParams, TrainingSet),
        "data.seed": _SEED,
        "data.datamodule": _GROUP,
        "data.validation": optional(_GROUP),
        **{f"data.datamodule.{name}": _GROUP for name in ("training_set", "transforms", "loader", "augment")},
        "data.datamodule.validation": optional(_GROUP),
        **dict.fromkeys(("augment", "optimizer", "scheduler"), _GROUP),
        **dict.fromkeys(("augment.*", "teacher"), optional(_GROUP)),
        **{name: optional(_GROUP) for name in ("teacher", "teacher.tta", "teacher.strong", "teacher.strong.*")},
        "teacher.params": _GROUP,
        "teacher.strong.erasing.*": optional(_GROUP),
    },
    "self_train": {**_INFERENCE, **fields_of("", RoundOptions)},
    "predict": {
        **_INFERENCE,
        **dict.fromkeys(("overlays", "overwrite", "half", "track", "show"), FLAG),
        "overlay_score": SHARE,
        "device": optional(_TEXT),
        "max_frames": optional(COUNT),
    },
    "evaluate": {
        **_INFERENCE,
        "dataset": FREE,  # a number is a name, too; `plan` says what names can be
        "label_percent": optional(Number(above=0, max=100)),
        "method": _TEXT,
        "on_error": _ON_ERROR,
        "num_examples": _EXAMPLES,
        "eval": _GROUP,
        **fields_of("eval.", EvalParams),
        "eval.datasets": optional(AnyOf((ListOf(_TEXT, 0), _TEXT))),
        "eval.ap_max_dets": optional(COUNT),
        "eval.per_category": FLAG,
    },
    "demo": {**_ALL, **fields_of("", DemoOptions), "backbones": optional(ListOf(_TEXT, 0)), "device": _TEXT},
    "serve": {
        **_ALL,
        **_MASKCUT,
        **fields_of("", ServerOptions),
        **{name: optional(_DETECTOR[name]) for name in _INFERENCE_OPTIONS},
        "maskcut": _GROUP,
        "host": _TEXT,
        "port": Integer(0, 65_535),
        "device": _TEXT,
    },
    "export": {**_ALL, **_MODEL, "max_detections": optional(_DETECTOR["max_detections"])},
    "recipe": _RECIPE,
    "prepare_dataset": {
        **_ALL,
        "name": Choice(tuple(CATALOG)),
        **dict.fromkeys(("overwrite", "check_images", "fetch"), FLAG),
        "marked": optional(Choice(("keep", "ignore", "drop"))),
        "splits": optional(ListOf(_TEXT)),
        "max_failure_rate": SHARE,
        "num_examples": _EXAMPLES,
        "mirror": _TEXT,
    },
    "make_coco_splits": {
        **_ALL,
        "percents": ListOf(Number(min=1e-6, max=100)),
        "seed": _SEED,
        **dict.fromkeys(("nested", "overwrite"), FLAG),
    },
    "discover": {**_ALL, **_MASKCUT, **fields_of("", DiscoverOptions), "num_examples": COUNT, "overwrite": FLAG},
    "export_labels": {
        **_ALL,
        **fields_of("", ExportOptions),
        "format": Choice(get_args(FormatName)),
        "on_error": _ON_ERROR,
        "overwrite": FLAG,
    },
    "weights": {
        **_ALL,
        "private": optional(FLAG),
        **{name: optional(_TEXT) for name in ("repository", "license")},
    },
    "convert_checkpoint": {
        **_ALL,
        **_MODEL,
        "format": Choice(("detectron2", "cutler_pl", "torchvision")),
        "half": FLAG,
    },
    "doctor": {},
    "completion": {},
}
