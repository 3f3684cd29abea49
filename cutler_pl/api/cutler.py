"""A trained detector that people call."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cutler_pl.api.device import choose_device
from cutler_pl.api.inputs import ImageInput, Pixels, predict_inputs
from cutler_pl.api.result import Result
from cutler_pl.api.video import FrameResult, predict_frames
from cutler_pl.errors import InputError
from cutler_pl.media.camera import open_video
from cutler_pl.media.tracking import Tracker
from cutler_pl.models import Detector, DetectorMetadata, load_detector
from cutler_pl.models.backends import Backend, choose_backend
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import best_first, encode_masks
from cutler_pl.models.tiled import EncodedPrediction, TiledDetector
from cutler_pl.ops.tiles import TileParams
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import SHARE, check, optional

log = get_logger(__name__)


class CutLER:
    """A detector of objects with masks; made by `CutLER.from_pretrained`.

    Attributes:
        detector: The network, in evaluation mode; its options of inference are `detector.config`.
        names: Class name by label.
        category_ids: COCO category id by label.
        device: Where it runs.
    """

    def __init__(self, detector: Detector, metadata: DetectorMetadata, *, device: str | torch.device = "auto") -> None:
        self.device = choose_device(device)
        self.detector = detector.eval().to(self.device)
        self.names = dict(enumerate(metadata.class_names, start=1))
        self.category_ids = dict(enumerate(metadata.category_ids, start=1))

    def __repr__(self) -> str:
        config = self.detector.config
        parts = f"{config.backbone}, {len(config.stage_ious)} box stages, {len(self.names)} classes"
        return f"CutLER({parts}, on {self.device})"

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "auto",
        backend: str | Backend = "torch",
        exported: str | Path | None = None,
        **options: Any,
    ) -> "CutLER":
        """Load a detector; its architecture and classes are read off the file.

        Args:
            source: A released name (`cutler_cascade_final`), a .ckpt, .pth, .pkl or .safetensors file with our or
                detectron2's names, an https address, or a repository `owner/name` of the Hugging Face hub.
            device: `auto` is the GPU if there is one, else the CPU; the CPU with another backend than `torch`.
            backend: What computes the networks: `torch`, `onnx` (onnxruntime) or `openvino`; the two need the extra
                `export` and run on a CPU.
            exported: Folder that `cutler export` wrote of the same weights; None exports them once, into a cache.
            **options: Options of inference that replace the file's: `score_threshold`, `nms_threshold`,
                `max_detections`, `min_size_test`, `max_size_test`; see `DetectorConfig`.

        Raises:
            CheckpointError: The file cannot be had or read, or holds no detector.
            ConfigError: An option does not exist or contradicts the file, or there is no such device or backend.
            OptionalDependencyError: The package of the backend is missing.
            OutputWriteError: The exported networks cannot be cached.
        """
        chosen = choose_backend(backend)
        if device == "auto" and backend != "torch":
            device = "cpu"
        device = choose_device(device)
        chosen.check(device)
        detector, metadata = load_detector(source, **options)
        chosen.install(detector.eval(), exported=exported)
        return cls(detector, metadata, device=device)

    def predict(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: float = 0.25,
    ) -> Result | list[Result] | Iterator[Result]:
        """Detect the objects of an image, of several, or of a folder.

        Args:
            images: A path, a PIL image, a uint8 array (H, W, 3), a tensor (3, H, W), a list of these, or a folder.
            score_threshold: Detections score above it; None for the detector's own.
            batch_size: Images of a list or a folder, or tiles of an image, that go through the network together.
            tile: Images larger than this many pixels are predicted in square tiles of this side; None for whole ones.
            overlap: Least share of a tile's side that the next tile shows, too.

        Returns:
            One Result for an image, a list for a list, an iterator for a folder, whose unreadable images are
            named in the log and left out.

        Raises:
            InputError: The list is empty, or something is no image.
            DatasetNotFoundError: A file does not exist, or a folder holds no readable image.
            ImageReadError: A file cannot be read as an image.
        """
        score_threshold = check("score_threshold", score_threshold, optional(SHARE), error=InputError)
        detector: Detector | TiledDetector = self.detector
        if tile is not None:
            detector = TiledDetector(self.detector, TileParams(tile=tile, overlap=overlap))

        def predict(pixels: list[Pixels], paths: list[Path | None]) -> list[Result]:
            tensors = [torch.from_numpy(image).to(self.device).permute(2, 0, 1) for image in pixels]
            predictions = detector.predict(tensors, score_threshold=score_threshold)
            return [self._result(*one) for one in zip(predictions, pixels, paths, strict=True)]

        return predict_inputs(images, predict, batch_size=batch_size)

    __call__ = predict

    def predict_video(
        self,
        source: str | Path,
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        track: bool = False,
        track_score: float = 0.35,
    ) -> Iterator[FrameResult]:
        """Detect the objects of each frame of a video, in constant memory; what cannot be read of it is logged.

        Args:
            source: A video file, or `camera:<number>`.
            score_threshold: Detections score above it; None for the detector's own.
            batch_size: Frames that go through the network together.
            track: Give the objects track ids; needs the extra `video`.
            track_score: Detections from this score up start a track.

        Raises:
            VideoReadError: It cannot be read as a video, or there is no such camera.
            OptionalDependencyError: A package of the extra is missing.
        """
        predict = partial(self.predict, score_threshold=score_threshold)
        with open_video(source) as video:
            tracker = Tracker(frame_rate=float(video.rate), min_score=track_score) if track else None
            for _, result in predict_frames(predict, video.frames(), batch_size=batch_size, tracker=tracker):
                yield result
            if damage := video.damage():
                log.warning("%s: %s", source, damage)

    def _result(self, prediction: CompactPrediction | EncodedPrediction, image: Pixels, path: Path | None) -> Result:
        index = best_first(prediction)
        return Result(
            boxes=prediction["boxes"][index].float().cpu(),
            scores=prediction["scores"][index].float().cpu(),
            labels=prediction["labels"][index].cpu(),
            names=self.names,
            category_ids=self.category_ids,
            image_size_hw=prediction["size_hw"],
            encoded=encode_masks(prediction, index),
            image=image if path is None else path,
        )
