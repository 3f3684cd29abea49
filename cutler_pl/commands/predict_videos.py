"""Predictions of videos and cameras: each gives a video with overlays, and a JSON file of its frames.

Frames are read, predicted, drawn and written a batch at a time. Both files are written under temporary names; the video
gets its name last.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from cutler_pl.api.cutler import CutLER
from cutler_pl.api.video import predict_frames
from cutler_pl.coco.failures import FAILURES_NAME, read_failures, write_failures
from cutler_pl.coco.frame_results import frame_results_writer
from cutler_pl.coco.schema import Category
from cutler_pl.commands.augmentation import augmentation
from cutler_pl.commands.finished_videos import FinishedVideos
from cutler_pl.commands.overwrites import refuse_replacing
from cutler_pl.commands.predict_device import autocast_of
from cutler_pl.commands.predict_output import OutputFile, video_outputs
from cutler_pl.commands.run_metadata import record_run_beside
from cutler_pl.errors import VideoReadError
from cutler_pl.media.camera import open_video
from cutler_pl.media.reader import Frame, VideoReader
from cutler_pl.media.sources import Sources
from cutler_pl.media.tracking import Tracker
from cutler_pl.media.writer import VideoWriter
from cutler_pl.runtime import signals
from cutler_pl.runtime.distributed import gather, global_rank, world_size
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION
from cutler_pl.visual.window import Window

_FINISHING_S = 60.0  # to finish the file of a camera after Ctrl-C

log = get_logger(__name__)


def predict_to_file(
    cfg: DictConfig, detector: CutLER, sources: Sources, file: OutputFile, *, window: Window | None
) -> Path:
    """Write one video or camera as `file`, the record of the run beside it; returns its JSON file.

    Raises:
        VideoReadError: It cannot be read, or a part of it cannot; what can is written.
        OutputLockedError: Another run writes the same file.
    """
    with output_lock(file.media, purpose="predict"):
        record_run_beside(file.record, cfg)
        try:
            source = _source(sources, sources.videos[0] if sources.videos else "")
            damage = predict_video(cfg, detector, source, file, window=window)
        except BaseException as error:
            if not file.media.exists():
                file.record.unlink(missing_ok=True)
            raise error
    if damage is not None:
        raise VideoReadError(f"{source}: {damage}; what can be read is in {file.media}")
    return file.results


class VideoFolder:
    """The videos of a run, or its camera, each with its files in the output folder; `finish` ends the run.

    Those that an interrupted run of the same settings has finished are kept.
    """

    def __init__(self, cfg: DictConfig, detector: CutLER, sources: Sources, output: Path) -> None:
        self._cfg = cfg
        self._detector = detector
        self._sources = sources
        self._output = output
        self._names = sources.videos or [f"camera_{sources.camera}"]
        self._outputs = video_outputs(output, self._names)
        self._finished = FinishedVideos(cfg, detector, output)
        self._failures: dict[str, str] = {}
        for name in sources.videos:
            refuse_replacing(self._outputs[name], {"input": sources.root / name})

    def predict(self, *, window: Window | None) -> None:
        """Predict this rank's share; videos that cannot be read, or not as a whole, are recorded."""
        for name in self._names[global_rank() :: world_size()]:
            source, output = _source(self._sources, name), self._outputs[name]
            if self._finished.has(source, output):
                log.info("%s: an interrupted run has done it, which is kept", output.results)
                continue
            try:
                damage = predict_video(self._cfg, self._detector, source, output, window=window)
            except VideoReadError as error:
                self._failures[name] = str(error)
            else:
                if damage is None:
                    self._finished.add(source)
                else:
                    self._failures[name] = f"{source}: {damage}; what can be read is in {output.results.parent}"
            if name in self._failures and len(self._names) > 1:
                log.warning("%s", self._failures[name])

    def finish(self) -> None:
        """Record the failures beside those of the images.

        Raises:
            VideoReadError: All videos failed, and there is no image.
        """
        failed = dict(sorted(gather(list(self._failures.items()))))
        record = self._output / FAILURES_NAME
        if global_rank() == 0:
            write_failures(record, failed | (read_failures(record) if self._sources.images else {}))
        if failed and len(failed) == len(self._names) and not self._sources.images:
            first = next(iter(failed.values()))
            several = f"none of the {len(failed)} videos can be read as a whole; the first: {first}"
            raise VideoReadError(first if len(failed) == 1 else several)
        self._finished.forget()


def predict_video(
    cfg: DictConfig, detector: CutLER, source: str | Path, output: OutputFile, *, window: Window | None
) -> str | None:
    """Write the files of one video or camera; what could not be read of it is returned as a part of a sentence.

    Raises:
        VideoReadError: It cannot be read as a video, or there is no such camera.
        OptionalDependencyError: A package of the extra `video` is missing.
        OutputWriteError: The disk is full.
    """
    is_camera = isinstance(source, str)
    predict = partial(detector.predict, tile=cfg.tile, overlap=cfg.overlap, tta=augmentation(cfg))
    with ExitStack() as stack:
        if is_camera:
            stack.enter_context(_ended_by_signal())
        video = stack.enter_context(open_video(source))
        tracker = Tracker(frame_rate=float(video.rate), min_score=cfg.overlay_score) if cfg.track else None
        stack.enter_context(autocast_of(cfg, detector.device))
        writer = None
        if cfg.overlays:
            media = stack.enter_context(atomic_write(output.media))
            writer = stack.enter_context(VideoWriter(media, like=video, suffix=output.media.suffix))
        put = stack.enter_context(
            frame_results_writer(output.results, info=_info(source, video), categories=_categories(detector))
        )
        frames = islice(video.frames(on_sound=None if writer is None else writer.copy), cfg.max_frames)
        total = cfg.max_frames if is_camera else min(video.num_frames or 0, cfg.max_frames or 10**9) or None
        bar = stack.enter_context(tqdm(total=total, desc=f"Predicting {Path(source).name}", unit=" frames"))
        seen = _until_stopped(frames, window) if is_camera else frames
        for frame, result in predict_frames(predict, seen, batch_size=cfg.batch_size, tracker=tracker):
            put(result.to_record())
            if writer is not None or window is not None:
                overlay = np.asarray(result.plot(float(cfg.overlay_score)))
                if writer is not None:
                    writer.write(overlay, pts=frame.pts)
                if window is not None:
                    window.show(overlay)
            bar.update()
        damage = None if is_camera or cfg.max_frames is not None else video.damage()
    log.info("%s: %d frames", output.media if cfg.overlays else output.results, bar.n)
    return damage


def _source(sources: Sources, name: str) -> str | Path:
    return f"camera:{sources.camera}" if sources.camera is not None else sources.root / name


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Ctrl-C is the usual end of a camera: what was recorded gets its name, and the run ends well."""
    with suppress(signals.StoppedBySignal), signals.deferred(_FINISHING_S):
        yield


def _until_stopped(frames: Iterator[Frame], window: Window | None) -> Iterator[Frame]:
    """Frames of a camera until Ctrl-C, or until its window is closed."""
    for frame in frames:
        if signals.requested() or (window is not None and not window.is_open):
            return
        yield frame


def _info(source: str | Path, video: VideoReader) -> dict[str, Any]:
    height, width = video.size_hw
    rate = round(float(video.rate), 6)
    return {"video": Path(source).name, "height": height, "width": width, "frame_rate": rate, "cutler_pl": VERSION}


def _categories(detector: CutLER) -> list[Category]:
    return [Category(id=detector.category_ids[label], name=name) for label, name in detector.names.items()]
