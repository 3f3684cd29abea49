"""`cutler maskcut compare=`: several generators on the same images, their masks drawn on one page."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.coco.failures import FAILURES_NAME, write_failures
from cutler_pl.coco.parameters import read_record
from cutler_pl.commands.chosen_features import require_features
from cutler_pl.commands.instantiate import build_trainer
from cutler_pl.commands.maskcut import build_predictor
from cutler_pl.commands.run_metadata import plain, record_run
from cutler_pl.commands.shared_extractors import SharedExtractors
from cutler_pl.errors import ConfigError
from cutler_pl.images import list_images
from cutler_pl.maskcut.feature_cache import log_use
from cutler_pl.pseudo_masks.generate import check_failures
from cutler_pl.pseudo_masks.output_folder import COMPARISON_NAME
from cutler_pl.pseudo_masks.quality.masks import evenly_spaced
from cutler_pl.pseudo_masks.variants import Variant, find_variants, write_annotations
from cutler_pl.reports.comparison import PAGE, Compared, Comparison, write_comparison_page
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def compare(cfg: DictConfig) -> Path:
    """Compare generators as `conf/maskcut.yaml` describes; returns the page.

    Raises:
        ConfigError: There is no such generator, one stands twice, no features are chosen, settings cannot work, or the
            output is of another run.
        DatasetNotFoundError: There are no images.
        CheckpointError: The weights of a backbone cannot be loaded.
        OutputLockedError: Another run writes into the output folder.
        TooManyFailuresError: Too many images failed.
    """
    require_features(cfg)
    output, generators = Path(cfg.output), list(cfg.compare)
    known = GlobalHydra.instance().config_loader().get_group_options("generator", results_filter=ObjectType.CONFIG)
    if unknown := [name for name in generators if name not in known]:
        raise ConfigError(f"compare= names {', '.join(unknown)}, and the generators are {', '.join(known)}")
    if twice := next((name for name in generators if generators.count(name) > 1), None):
        raise ConfigError(f"compare= names {twice} twice; a page has one column per generator: leave one out")
    configs = {name: _config(name) for name in generators}
    root, names = list_images(cfg.input)
    trainer = build_trainer(cfg)
    if trainer.world_size > 1:
        raise ConfigError(f"compare= runs on one device, and trainer= asks for {trainer.world_size}; leave it out")
    device = trainer.strategy.root_device
    extractors = SharedExtractors(device)
    variants = {name: _variant(config, extractors) for name, config in configs.items()}
    with file_lock(output, purpose="maskcut compare"):
        _check_free(output, generators)
        comparison = Comparison({
            name: Compared(variant.predictor.generator.constants(), _features(configs[name]))
            for name, variant in variants.items()
        })  # fmt: skip
        shown = [names[i] for i in evenly_spaced(len(names), cfg.compare_images)]
        found = find_variants(root, shown, variants, device=device, on_failure=comparison.failed.__setitem__)
        for done, image in enumerate(found, start=1):
            comparison.add(image)
            log.info("%d of %d images: %s", done, len(shown), image.name)
        write_json(output / COMPARISON_NAME, comparison.counts(), indent=2)  # the next run knows the folder by it
        log_use(extractors.built)
        for name in generators:
            write_annotations(output / name, [masks[name].record for masks in comparison.masks])
        record_run(output, cfg)
        write_failures(output / FAILURES_NAME, comparison.failed)
        command = shlex.join(["cutler", "maskcut", *_words()])
        write_comparison_page(output, comparison, total=len(names), command=command)
    log.info("open %s", output / PAGE)
    check_failures(comparison.failed, len(shown), cfg.max_failure_rate, root=root, listed_in=output / FAILURES_NAME)
    return output / PAGE


def _words() -> list[str]:
    """The settings as they were given."""
    hydra = HydraConfig.get()
    if hydra.job.config_name != "maskcut":  # a stage of a recipe has no command line of its own
        raise ConfigError("compare= is of the command cutler maskcut alone; leave it out of recipes")
    return cast(list[str], OmegaConf.to_container(hydra.overrides.task, resolve=False))


def _config(generator: str) -> DictConfig:
    """What `cutler maskcut generator=` would be with the settings given."""
    words = _words()
    parsed = OverridesParser.create().parse_overrides(words)
    keys = [override.key_or_group for override in parsed]
    if own := [word for word, key in zip(words, keys, strict=True) if key.split(".")[0] == "generator"]:
        raise ConfigError(
            f"{own[0]}: compare= names the generators and takes no setting of one of them; leave it out, or write it "
            "into conf/generator/<name>.yaml below the current folder"
        )
    shared = [word for word, key in zip(words, keys, strict=True) if key != "compare"]
    return compose("maskcut", overrides=[*shared, f"generator={generator}"])


def _variant(cfg: DictConfig, extractors: SharedExtractors) -> Variant:
    predictor = build_predictor(cfg, extractors.of(cfg))
    return Variant(predictor, cfg.maskcut.fixed_size, instantiate(cfg.annotation))


def _features(cfg: DictConfig) -> str:
    """The backbones of a generator in words."""
    side = f"images of {cfg.maskcut.fixed_size} pixels"
    if cfg.maskcut.backbones is None:
        return ", ".join([*_named(plain(cfg.maskcut.features)), side])
    entries = [one if isinstance(one, str) else " ".join(_named(one)) for one in plain(cfg.maskcut)["backbones"]]
    return f"{', '.join(entries)}; {side}"


def _named(features: Mapping[str, Any]) -> list[str]:
    """Settings of features, the name alone and the others with theirs."""
    given = {key: value for key, value in features.items() if value is not None and key != "_target_"}
    return [str(value) if key == "name" else f"{key} {value}" for key, value in given.items()]


def _check_free(output: Path, generators: Sequence[str]) -> None:
    """Raise if the folder holds files of another command, or a comparison of other generators."""
    if (output / COMPARISON_NAME).is_file():
        before = read_record(output / COMPARISON_NAME, dict, way_out="choose another output folder")
        if set(before) != set(generators):
            raise ConfigError(f"{output}: holds a comparison of {', '.join(before)}; choose another output folder")
    elif other := [path for path in sorted(output.glob("*")) if not path.name.startswith(".")]:
        raise ConfigError(f"{output}: holds {other[0].name}, which is of no comparison; choose another output folder")
