"""Classes from masks without labels: clusters, a page to look at them, and a COCO file with the names people give."""

import shlex
from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.api.device import choose_device
from cutler_pl.commands.chosen_features import chosen_features, recorded_features
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.discovery import DiscoverOptions, discover, name_clusters, read_names
from cutler_pl.discovery.grouping import CLASSES_FILE, NAMES_FILE
from cutler_pl.reports.discovery import write_discovery_page
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Group and name as `conf/discover.yaml` describes; returns `clusters.yaml`, or `annotations.json` with `names=`.

    Raises:
        ConfigError: A setting cannot work, the output is of another run, or the names do not fit the clusters.
        DatasetNotFoundError: A file or folder is missing.
        AnnotationError: The annotations break the format, have no masks or less than two objects.
        CheckpointError: The features' weights cannot be loaded.
        OutputLockedError: Another run writes into the output folder.
        TooManyFailuresError: Too many images cannot be read.
    """
    require(cfg, "annotations", "images", "output")
    output, images = Path(cfg.output), Path(cfg.images)
    options = DiscoverOptions(**{field.name: cfg[field.name] for field in fields(DiscoverOptions)})
    extractor = chosen_features(cfg, device=choose_device("auto"))
    with file_lock(output, purpose="discover"):
        found = discover(
            cfg.annotations,
            images,
            output,
            extractor=extractor,
            fixed_size=cfg.maskcut.fixed_size,
            options=options,
            settings=recorded_features(cfg),
            overwrite=cfg.overwrite,
        )
        names = None if cfg.names is None else read_names(cfg.names, found.count)
        record_run(output, cfg)
        if names is not None:
            name_clusters(found, names, output / CLASSES_FILE)
        write_discovery_page(
            output, images, found, num_examples=cfg.num_examples, names=names, commands=_next_commands(cfg, output)
        )
    log.info("open %s", output / "index.html")
    if names is None:
        log.info("name the clusters in %s, then run the same command with names=%s", *[output / NAMES_FILE] * 2)
        return output / NAMES_FILE
    return output / CLASSES_FILE


def _next_commands(cfg: DictConfig, output: Path) -> list[str]:
    """What comes after the page: naming, or a training."""
    if cfg.names is None:
        given = [f"{key}={cfg[key]}" for key in ("annotations", "images", "output")]
        return [shlex.join(["cutler", "discover", "…", *given, f"names={output / NAMES_FILE}"])]
    data = [f"data.images={cfg.images}", f"data.annotations={output / CLASSES_FILE}"]
    return [shlex.join(["cutler", "train", "experiment=few_shot", *data])]
