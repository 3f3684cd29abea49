"""Annotations or predictions in the format of a tool that people label or train with."""

from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.commands.settings import require
from cutler_pl.datasets.formats import ExportOptions, export_labels
from cutler_pl.runtime.locks import file_lock


def run(cfg: DictConfig) -> Path:
    """Export as `conf/export_labels.yaml` describes; returns what the tool is given.

    Raises:
        DatasetNotFoundError: A file or folder is missing.
        AnnotationError: The annotations break the format, or hold what cannot be written.
        ImageReadError: An image is missing, or cannot be read.
        ConfigError: The output is there already.
        OutputLockedError: Another run writes into the output folder.
    """
    require(cfg, "annotations", "images", "format", "output")
    options = ExportOptions(**{field.name: cfg[field.name] for field in fields(ExportOptions)})
    with file_lock(cfg.output, purpose="export_labels"):
        return export_labels(
            cfg.annotations,
            cfg.images,
            cfg.output,
            format=cfg.format,
            options=options,
            on_error=cfg.on_error,
            overwrite=cfg.overwrite,
        )
