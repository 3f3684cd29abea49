"""Where predictions go: a file with its JSON and record beside it, or a folder."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.overwrites import refuse_replacing
from cutler_pl.errors import ConfigError
from cutler_pl.images import IMAGE_SUFFIXES
from cutler_pl.media.sources import MEDIA_SUFFIXES, Sources
from cutler_pl.media.writer import WRITTEN_SUFFIXES
from cutler_pl.visual.figure_path import figure_path, names_alike

_TAKEN = frozenset({"predictions", "images", "run", "config"})
"""Stems of the files that every run writes into its folder."""


class OutputFile(NamedTuple):
    """An image or a video to write, and what lies beside it; the record of a run into a folder lies there, too."""

    media: Path
    results: Path
    record: Path


def output_file(cfg: DictConfig, sources: Sources) -> OutputFile | None:
    """The file that `output` names, where a single image or video is predicted; None where it names a folder.

    Raises:
        ConfigError: The file exists and `overwrite` is false, is of another kind than the input, would replace the
            input, or nothing is drawn.
    """
    path = Path(cfg.output)
    if not sources.is_single or path.suffix.lower() not in MEDIA_SUFFIXES or path.is_dir():
        if path.is_file():
            raise ConfigError(f"output={path}: is a file, and several inputs need a folder; choose another name")
        return None
    if (path.suffix.lower() in IMAGE_SUFFIXES) != bool(sources.images):
        kind, endings = ("an image", ".jpg or .png") if sources.images else ("a video", ".mp4, .mkv or .mov")
        raise ConfigError(f"output={path}: {cfg.input} gives {kind}; end the name in {endings}, or name a folder")
    if not sources.images and path.suffix.lower() not in WRITTEN_SUFFIXES:
        raise ConfigError(f"output={path}: videos are written as {', '.join(WRITTEN_SUFFIXES)}; choose one of them")
    if not cfg.overlays:
        raise ConfigError(f"output={path}: overlays=false draws nothing to write there; name a folder")
    target = OutputFile(path, path.with_suffix(".json"), path.with_suffix(".run.yaml"))
    for name in (*sources.images, *sources.videos):
        refuse_replacing(target, {"input": sources.root / name})
    if not cfg.overwrite and (there := next((file for file in target if file.exists()), None)):
        raise ConfigError(f"{there}: exists; add overwrite=true to replace it, or choose another output")
    return target


def video_outputs(folder: Path, names: Sequence[str]) -> dict[str, OutputFile]:
    """The files of each video in a folder: `<stem>.mp4` and `<stem>.json`; where two share a stem, it has the ending.

    A video keeps its container where that can be written. Names that lead out of the input lie below `elsewhere/`.
    """
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    count = Counter(stem.casefold() for stem in stems)
    keys = [
        stem if count[stem.casefold()] == 1 and stem.casefold() not in _TAKEN else name
        for stem, name in zip(stems, names, strict=True)
    ]
    alike = names_alike([f"{key}.jpg" for key in keys])
    outputs = {}
    for key, name in zip(keys, names, strict=True):
        suffix = PurePosixPath(name).suffix.lower()
        place = figure_path(folder, f"{key}.jpg", alike=alike)
        place = place.with_name(place.name.removesuffix(".jpg"))
        media = place.with_name(f"{place.name}{suffix if suffix in WRITTEN_SUFFIXES else '.mp4'}")
        outputs[name] = OutputFile(media, place.with_name(f"{place.name}.json"), folder / "config.yaml")
    return outputs


def refuse_other_run(cfg: DictConfig, folder: Path) -> None:
    """Raise if a folder holds what another command, or `predict` from another input, has written.

    Raises:
        ConfigError: It does, and `overwrite` is false.
    """
    record = folder / "config.yaml"
    if cfg.overwrite or not record.is_file():
        return
    way_out = "choose another output, or add overwrite=true to replace it"
    try:
        earlier = OmegaConf.load(record)
        is_predict = isinstance(earlier, DictConfig) and "overlay_score" in earlier and "input" in earlier
    except (OSError, ValueError):
        is_predict = False
    if not is_predict:
        raise ConfigError(f"output={folder}: holds the run of another command; {way_out}")
    if _places(earlier.input) != _places(cfg.input):
        raise ConfigError(f"output={folder}: holds the predictions of input={earlier.input}; {way_out}")


def _places(source: object) -> list[str]:
    listed = [source] if isinstance(source, str | Path) else OmegaConf.to_object(source)
    assert isinstance(listed, Sequence)
    return [str(Path(str(one)).resolve()) for one in listed]
