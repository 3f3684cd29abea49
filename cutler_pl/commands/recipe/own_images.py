"""The settings of `recipe=own_images` that follow the machine and the images, each with its reason."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from cutler_pl.commands.resolvers import stage_folder
from cutler_pl.commands.result_cache import read_record
from cutler_pl.commands.settings import require
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.images import list_images
from cutler_pl.runtime.durations import seconds_of
from cutler_pl.runtime.environment import usable_cpus
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.backbones import WAYS_OUT
from cutler_pl.weights.sources import PACKAGED, locate_weights

log = get_logger(__name__)

OFFLINE = "patch_descriptors"
_R50 = "dino_RN50_pretrain_d2_format"
_R50_BATCH, _GIB_PER_IMAGE, _GIB_BESIDE = 16, 1.75, 1.5  # 27.8 GiB for 16: docs/BENCHMARKS.md
_FOLLOWING = ("trainer", "run_on", "experiment_rounds")  # from the device alone
_LEAST_STEPS = 60
_WAYS_ON = f"give them by weights=<file>, or go on without by maskcut={OFFLINE}, whose masks are much weaker"


class Choice(NamedTuple):
    """A setting below `recipe.`, its value and the reason for it."""

    name: str
    value: Any
    reason: str


def choose(cfg: DictConfig) -> DictConfig:
    """A copy of a config of `recipe=own_images` in which every setting has a value; nothing is written.

    Raises:
        ConfigError: A setting is missing, or images and output lie within one another.
        DatasetNotFoundError: There is no image.
        WeightsNotFoundError: The weights of the features cannot be had.
    """
    require(cfg, *(("images", "output") if "images" in set(cfg) else ("recipe.images", "recipe.output")))
    cfg = cfg.copy()
    images, output = Path(cfg.recipe.images), Path(cfg.recipe.output)
    _check_places(images, output)
    root, names = list_images(images)
    chosen = _take(cfg, _machine(cfg, gpu=torch.cuda.is_available()))
    chosen += _take(cfg, [_features(cfg)])
    chosen += _take(cfg, _training(cfg, num_images=len(names)))
    with open_dict(cfg):
        cfg.recipe.digest = _digest(root, names)
        cfg.recipe.chosen = {
            _setting(cfg, choice.name): f"{_shown(choice.value)}: {choice.reason}"
            for choice in chosen
            if choice.name not in _FOLLOWING
        }
    if cfg.recipe.notice:
        log.warning(cfg.recipe.notice)
    for name, text in cfg.recipe.chosen.items():
        log.info("%s=%s", name, text)
    return cfg


def _setting(cfg: DictConfig, name: str) -> str:
    """What the user gives to choose something else."""
    if name == "features":
        return "maskcut"
    return name if name in set(cfg) else f"recipe.{name}"


def _take(cfg: DictConfig, chosen: list[Choice]) -> list[Choice]:
    """The choices, put into the config."""
    with open_dict(cfg):
        for choice in chosen:
            OmegaConf.update(cfg, f"recipe.{choice.name}", choice.value)
    return chosen


def _check_places(images: Path, output: Path) -> None:
    given, written = images.resolve(), output.resolve()
    if written.is_relative_to(given):
        raise ConfigError(
            f"output={output} lies in images={images}: the next run would take its figures for images; choose an "
            "output outside of it"
        )
    if given.is_relative_to(written):
        raise ConfigError(f"images={images} lies in output={output}, where stages are redone; choose another output")


def _machine(cfg: DictConfig, *, gpu: bool) -> list[Choice]:
    recipe = cfg.recipe
    found = torch.cuda.get_device_name(0) if gpu else "no GPU here"
    device = recipe.device or ("gpu" if gpu else "cpu")
    why = "as given" if recipe.device else found
    on_gpu = device == "gpu"
    if on_gpu and not gpu:
        raise ConfigError("device=gpu: this machine has none that torch can use; leave it out, or see cutler doctor")
    cpus = usable_cpus()
    workers = min(8, max(1, cpus - 1)) if on_gpu else min(2, cpus)
    names, network = _network(str(recipe.init), on_gpu=on_gpu)
    known = [
        Choice("device", device, why),
        Choice("experiment", names[0], network),
        Choice("experiment_rounds", names[1], "the same network, without DropLoss"),
        Choice("trainer", "default" if on_gpu else "cpu", why),
        Choice("run_on", "auto" if on_gpu else "cpu", why),
        *_batch(cfg, on_gpu=on_gpu),
        Choice("num_workers", workers, f"{cpus} CPU cores"),
        Choice("budget", "2h" if on_gpu else "8min", f"the default on a {device.upper()}, for all trainings together"),
        _start(cfg, on_gpu=on_gpu),
    ]
    return [choice for choice in known if recipe.get(choice.name) is None or choice.name == "device"]


def _network(init: str, *, on_gpu: bool) -> tuple[tuple[str, str], str]:
    """The experiments of the first training and of the rounds, and why."""
    if init in PACKAGED:
        return ("quickstart_half", "quickstart_half_self_train"), f"the network that init={init} is for"
    if on_gpu:
        return ("cutler_cascade", "self_train_r1"), "Cascade Mask R-CNN with a ResNet-50"
    return ("quickstart", "quickstart_self_train"), "the small cascade, which a CPU can train"


def _batch(cfg: DictConfig, *, on_gpu: bool) -> list[Choice]:
    """Images per forward pass, and passes per step."""
    if not on_gpu:
        return [
            Choice("batch_size", 8, "images per step, as the recipe of this network"),
            Choice("accumulate", 1, "forward passes per step"),
        ]
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    fitting = next((n for n in (16, 8, 4) if _GIB_PER_IMAGE * n + _GIB_BESIDE <= memory), 2)
    size = cfg.recipe.batch_size or fitting
    return [
        Choice("batch_size", size, f"images per forward pass, what {memory:.0f} GiB of GPU memory hold"),
        Choice(
            "accumulate", max(1, _R50_BATCH // size), f"forward passes per step, for {_R50_BATCH} images as the paper"
        ),
    ]


def _start(cfg: DictConfig, *, on_gpu: bool) -> Choice:
    """Start weights of the first training."""
    if cfg.recipe.init is not None or not on_gpu:
        return Choice("init", cfg.recipe.init or "scratch", "the small cascade starts from random weights")
    try:
        locate_weights(_R50)
    except CheckpointError as error:
        return Choice("init", "scratch", f"the weights of DINO's ResNet-50 cannot be had ({error})")
    return Choice("init", _R50, "DINO's ResNet-50, as in the paper")


def _features(cfg: DictConfig) -> Choice:
    """The features of MaskCut, whose weights are there."""
    name, option = str(cfg.maskcut.features.name), str(HydraConfig.get().runtime.choices["maskcut"])
    if name == OFFLINE:
        return Choice("features", OFFLINE, "as given; they group regions and know no objects")
    given = option if option != "auto" else name
    reason = "as given" if option != "auto" else f"DINO that a {cfg.recipe.device.upper()} can run in reasonable time"
    missing = f"the weights of {given} cannot be had"
    before = _cut_before(cfg)
    if before is not None and option == "auto" and cfg.recipe.fallback is not None:
        with open_dict(cfg):
            cfg.recipe.notice = before.notice
        return Choice("features", before.features, missing if before.notice else reason)
    if before is not None and (before.features, before.weights) == (given, cfg.recipe.weights):
        return Choice("features", given, reason)
    features = cfg.maskcut.features.copy()
    features.weights = features.weights or cfg.recipe.weights
    if (error := _missing_weights(features)) is not None:
        said = str(error).removesuffix(f"; {WAYS_OUT}")
        if cfg.recipe.fallback is None:
            raise type(error)(f"{said}; {_WAYS_ON}") from error
        with open_dict(cfg):
            cfg.recipe.notice = (
                f"The weights of {given} cannot be had here, so the masks come from color and texture alone "
                f"(maskcut={OFFLINE}): they group regions and know no objects. For real use run again with a network "
                "connection, or with weights=<file>."
            )
        return Choice("features", OFFLINE, missing)
    return Choice("features", given, reason)


def _missing_weights(features: DictConfig) -> CheckpointError | None:
    """Why the features cannot be built; None where they can."""
    try:
        instantiate(features)
    except CheckpointError as error:
        return error
    except InstantiationException as error:  # Hydra's own words around it
        if not isinstance(error.__cause__, CheckpointError):
            raise
        return error.__cause__
    return None


def _cut_before(cfg: DictConfig) -> DictConfig | None:
    """The recipe's settings of the run whose masks are finished in this output, so that no weights are needed."""
    folder, record = Path(stage_folder("masks_0", _root_=cfg)), Path(cfg.recipe.output) / "config.yaml"
    if (read_record(folder / "stage.json") or {}).get("state") != "finished" or not record.is_file():
        return None
    recipe = OmegaConf.select(OmegaConf.load(record), "recipe")
    return recipe if isinstance(recipe, DictConfig) and "features" in recipe else None


def _training(cfg: DictConfig, *, num_images: int) -> list[Choice]:
    """Steps and seconds of each training."""
    recipe = cfg.recipe
    budget, on_gpu = seconds_of(recipe.budget), recipe.device == "gpu"
    steps = max(_LEAST_STEPS, math.ceil(recipe.max_passes * num_images / (recipe.batch_size * recipe.accumulate)))
    passes = f"at most {recipe.max_passes} passes over {num_images:,} images, and as many as the budget allows"
    thresholds = [0.7, 0.65] if on_gpu else [0.7]
    if recipe.thresholds is not None:
        thresholds = list(recipe.thresholds)
    first = budget * (recipe.first_share if thresholds else 1.0)
    rest = (budget - first) / max(1, len(thresholds))
    rounds = "1 round" if len(thresholds) == 1 else f"{len(thresholds)} rounds"
    known = [
        Choice("thresholds", thresholds, f"{rounds} of self-training, what {recipe.budget} are enough for"),
        Choice("steps", steps, passes),
        Choice("steps_rounds", max(_LEAST_STEPS, steps // 2), "half as many, at half the learning rate"),
        Choice("seconds", round(first, 1), f"{recipe.first_share:.0%} of the budget {recipe.budget}"),
        Choice("seconds_rounds", round(rest, 1), "each; the rounds share the rest of the budget"),
    ]
    return [choice for choice in known if recipe.get(choice.name) is None]


def _digest(root: Path, names: Sequence[str]) -> str:
    """Of all that shows whether images were added, removed or changed."""
    found = hashlib.sha256()
    for name in names:
        try:
            state = (root / name).stat()
            text = f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n"
        except OSError as error:  # listed as unreadable by the stage `check`
            text = f"{name}\0{error.errno}\n"
        found.update(text.encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:16]


def _shown(value: Any) -> str:
    return str(list(value)) if OmegaConf.is_list(value) or isinstance(value, list) else str(value)
