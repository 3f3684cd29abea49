"""Videos that an interrupted run into the same folder has finished: kept, instead of being predicted anew."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cutler_pl.api.cutler import CutLER
from cutler_pl.commands.augmentation import augmentation_settings
from cutler_pl.commands.predict_output import OutputFile
from cutler_pl.commands.result_cache import file_state, read_record
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.runtime.files import is_file, write_json
from cutler_pl.runtime.version import VERSION


class FinishedVideos:
    """Records of a run, one per finished video, in a hidden folder that goes at its end."""

    def __init__(self, cfg: DictConfig, detector: CutLER, output: Path) -> None:
        self._folder = output / ".videos"
        checkpoint = str(cfg.checkpoint)
        names = ("tile", "overlap", "overlays", "overlay_score", "track", "max_frames")
        self._settings: dict[str, Any] = {
            "version": VERSION,
            "checkpoint": file_state(checkpoint) if is_file(checkpoint) else checkpoint,
            "model": detector_config(detector.detector, category_ids=list(detector.category_ids.values())),
            "precision": cfg.trainer.precision,
            "backend": cfg.backend,
            "tta": augmentation_settings(cfg),
            **{name: cfg[name] for name in names},
        }

    def has(self, source: str | Path, output: OutputFile) -> bool:
        """Whether a video was finished with these settings."""
        if isinstance(source, str) or not is_file(source):  # a camera
            return False
        written = [output.results, *([output.media] if self._settings["overlays"] else [])]
        return read_record(self._record(source)) == self._of(source) and all(path.is_file() for path in written)

    def add(self, source: str | Path) -> None:
        """Note a video as finished."""
        if isinstance(source, Path):
            write_json(self._record(source), self._of(source))

    def forget(self) -> None:
        """Remove all records: the next run does everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _of(self, source: Path) -> dict[str, Any]:
        return {**self._settings, "video": file_state(source)}

    def _record(self, source: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:24]}.json"
