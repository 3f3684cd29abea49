"""No output replaces an input: checked before a command starts, also through links."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from cutler_pl.errors import ConfigError

_RECORD = ("config.yaml", "run.json")
_WRITTEN: dict[str, tuple[str, ...]] = {
    "maskcut": ("annotations.json", "failures.jsonl", *_RECORD),
    "discover": ("annotations.json", *_RECORD),
    "quality": ("quality.json", *_RECORD),
    "calibrate": ("calibration.json", *_RECORD),
    "merge_shards": ("annotations.json", "failures.jsonl"),
    "predict": ("predictions.json", "images.json", "failures.jsonl", *_RECORD),
    "self_train": ("annotations.json", "rejected.txt", "predictions/predictions.json", *_RECORD),
    "evaluate": ("results.json", "categories.json", *_RECORD),
    "train": ("checkpoints/last.ckpt", *_RECORD),
}
"""Files of a command below its output folder that could be an input of it."""
_FOLDERS_OF_JSON = ("sources", "predictions", "released", "annotations")


def refuse_replacing(outputs: Iterable[Path], inputs: Mapping[str, Path]) -> None:
    """Raise if a file to be written is one that is read.

    Args:
        outputs: Files to be written, which may not exist.
        inputs: Files to be read, by the name of their setting.

    Raises:
        ConfigError: They are one file, under whatever names.
    """
    for output in (path for path in outputs if path.exists()):
        for name, path in inputs.items():
            if path.exists() and output.samefile(path):
                raise ConfigError(f"{output}: the run would replace its own {name}={path}; choose another output")


def check_overwrites(command: str, cfg: DictConfig, *, inputs: Iterable[str], output: str) -> None:
    """Check paths that exist and are of the right kind.

    Args:
        command: Name of the command.
        cfg: Its settings.
        inputs: Settings that are read: files, folders, or lists of them.
        output: Setting of the output, a file or a folder.

    Raises:
        ConfigError: An output would replace an input, or be taken for one by the next run.
    """
    place = Path(str(OmegaConf.select(cfg, output)))
    given = [(name, path) for name in inputs for path in _given(cfg, name)]
    written = [place / name for name in _WRITTEN[command]] if command in _WRITTEN else [place]
    for name, path in given:
        if name == "resume":  # a run that goes on in its own folder
            continue
        if name == "sources" and path.is_dir() and path.resolve() == place.resolve():
            raise ConfigError(
                f"{output}={place} is one of sources=: the next run would merge this one's output, too; choose another "
                "folder"
            )
        files = path.glob("*.json*") if name in _FOLDERS_OF_JSON and path.is_dir() else [path]
        for file in files:
            refuse_replacing(written, {name: file})
    if command in ("maskcut", "predict") and cfg.overlays:
        _check_figures(cfg)


def _given(cfg: DictConfig, name: str) -> list[Path]:
    value = OmegaConf.select(cfg, name)
    values = value if isinstance(value, ListConfig) else [value]
    return [Path(item) for item in values if isinstance(item, str | Path) and Path(item).exists()]


def _check_figures(cfg: DictConfig) -> None:
    """No figure may be taken for an image by the next run, or replace an image of this one."""
    output = Path(cfg.output).resolve()
    way_out = "choose an output outside of it, or overlays=false"
    for path in _given(cfg, "input"):
        given = path.resolve()
        if given.is_dir() and output.is_relative_to(given):
            raise ConfigError(
                f"output={cfg.output} lies in input={path}: the next run would take the figures for images; {way_out}"
            )
        if any(given.is_relative_to(output / folder) for folder in ("overlays", "steps")):
            raise ConfigError(f"input={path} holds the figures of output={cfg.output}; {way_out}")
