"""Config and metadata beside every output, to repeat the run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_json, write_text


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain dictionaries and lists, interpolations resolved."""
    return {str(key): value for key, value in OmegaConf.to_object(cfg).items()}  # type: ignore[union-attr]


def record_run(folder: Path, cfg: DictConfig) -> dict[str, Any]:
    """Write `config.yaml`, resolved, and `run.json`: commit, versions, hardware and seed, which are returned."""
    metadata = run_metadata(cfg.get("seed"))
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(folder / "run.json", metadata, indent=2)
    return metadata


def record_run_beside(file: Path, cfg: DictConfig) -> None:
    """Write both, `config` and `run`, as one file for an output that is a file itself."""
    content = {"config": plain(cfg), "run": run_metadata(cfg.get("seed"))}
    write_text(file, OmegaConf.to_yaml(OmegaConf.create(content)))
