"""A trained detector that people call."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cutler_pl.api.device import choose_device
from cutler_pl.api.inputs import ImageInput, Pixels, predict_inputs
from cutler_pl.api.model_card import CardOptions
from cutler_pl.api.published import write_published
from cutler_pl.api.result import Result
from cutler_pl.api.video import FrameResult, predict_frames
from cutler_pl.errors import InputError
from cutler_pl.media.camera import open_video
from cutler_pl.media.tracking import Tracker
from cutler_pl.models import Detector, DetectorMetadata, load_detector
from cutler_pl.models.backends import Backend, choose_backend
from cutler_pl.models.backends.parts import require_weights
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import best_first, encode_masks
from cutler_pl.models.tiled import EncodedPrediction, as_shown
from cutler_pl.models.tta import TtaParams
from cutler_pl.ops.tiles import TileParams
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import SHARE, check, optional
from cutler_pl.weights.hub import publish, require_hub_id

log = get_logger(__name__)


class CutLER:
    """A detector of objects with masks; made by `CutLER.from_pretrained`.

    Attributes:
        detector: The network, in evaluation mode; its options of inference are `detector.config`.
        names: Class name by label.
        category_ids: COCO category id by label.
        device: Where it runs.
        source: Where it was loaded from; None for one that was built.
    """

    def __init__(
        self,
        detector: Detector,
        metadata: DetectorMetadata,
        *,
        device: str | torch.device = "auto",
        source: str | Path | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.source = source
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
        revision: str | None = None,
        backend: str | Backend = "torch",
        exported: str | Path | None = None,
        **options: Any,
    ) -> "CutLER":
        """Load a detector; its architecture and classes are read off the file.

        Args:
            source: A released name (`cutler_cascade_final`), a .ckpt, .pth, .pkl or .safetensors file with our or
                detectron2's names, a folder of `save_pretrained`, of a training or of a recipe, an https address, or a
                repository `owner/name` of the Hugging Face hub, whose safetensors alone are read.
            device: `auto` is the GPU if there is one, else the CPU; the CPU with another backend than `torch`.
            revision: Branch, tag or commit of a repository; None for its main branch.
            backend: What computes the networks: `torch`; on a CPU also `winograd` (faster PyTorch), or `onnx`
                (onnxruntime) and `openvino`, which need the extra `export`.
            exported: Folder that `cutler export` wrote of the same weights; None exports them once, into a cache.
            **options: Options of inference that replace the file's: `score_threshold`, `nms_threshold`,
                `max_detections`, `min_size_test`, `max_size_test`; see `DetectorConfig`.

        Raises:
            CheckpointError: The file cannot be had or read, or holds no detector.
            ConfigError: An option does not exist or contradicts the file, `revision` is given for something else than
                a repository, or there is no such device or backend.
            OptionalDependencyError: The package of the backend is missing.
            OutputWriteError: The exported networks cannot be cached.
        """
        chosen = choose_backend(backend)
        if device == "auto" and backend != "torch":
            device = "cpu"
        device = choose_device(device)
        if revision is not None:
            source = str(require_hub_id(f"{source}@{revision}"))
        chosen.check(device)
        detector, metadata = load_detector(source, **options)
        chosen.install(detector.eval(), exported=exported)
        return cls(detector, metadata, device=device, source=source)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        run: str | Path | None = None,
        evaluation: str | Path | None = None,
        license: str | None = None,
    ) -> Path:
        """Write `model.safetensors`, `config.json` and a model card, `README.md`: what `push_to_hub` publishes.

        Args:
            folder: Made if need be; the three files are replaced.
            run: Folder of the training or recipe that the card describes; None for the one that the checkpoint lies in.
            evaluation: Folder that `cutler evaluate` wrote for these weights; None for the one of the recipe.
            license: Licence of the weights as the hub names it, such as `apache-2.0`; None: the card says that none is
                stated.

        Returns:
            The folder.

        Raises:
            ConfigError: `run` holds no training, `evaluation` no metrics of these weights, or a backend the weights.
            OutputWriteError: The folder cannot be written.
        """
        self._write_published(Path(folder), CardOptions(run, evaluation, license))
        return Path(folder)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a detector of cutler_pl",
        run: str | Path | None = None,
        evaluation: str | Path | None = None,
        license: str | None = None,
    ) -> str:
        """Publish the detector on the Hugging Face hub, as one commit of the files of `save_pretrained`.

        Args:
            repository: `owner/name`; made if it does not exist.
            private: Whether a new repository is private; None for what its owner's settings say.
            revision: Branch; None for the main one.
            commit_message: First line of the commit.
            run: As in `save_pretrained`, and so are the next two.

        Returns:
            Address of the commit.

        Raises:
            ConfigError: `repository` cannot be a name, or as in `save_pretrained`.
            UploadError: The hub does not take it: no token, no right to write, no connection.
        """
        hub = require_hub_id(repository if revision is None else f"{repository}@{revision}")
        card = CardOptions(run, evaluation, license)
        with TemporaryDirectory(prefix="cutler_pl_") as folder:
            names = self._write_published(Path(folder), card, repository=hub.repository)
            return publish(Path(folder), names, hub, private=private, message=commit_message)

    def predict(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: float = 0.25,
        tta: TtaParams | None = None,
    ) -> Result | list[Result] | Iterator[Result]:
        """Detect the objects of an image, of several, or of a folder.

        Args:
            images: A path, a PIL image, a uint8 array (H, W, 3), a tensor (3, H, W), a list of these, or a folder.
            score_threshold: Detections score above it; None for the detector's own.
            batch_size: Images of a list or a folder, or tiles of an image, that go through the network together.
            tile: Images larger than this many pixels are predicted in square tiles of this side; None for whole ones.
            overlap: Least share of a tile's side that the next tile shows, too.
            tta: Test-time augmentation: views of each image, or tile, whose detections are merged.

        Returns:
            One Result for an image, a list for a list, an iterator for a folder, whose unreadable images are
            named in the log and left out.

        Raises:
            InputError: The list is empty, or something is no image.
            DatasetNotFoundError: A file does not exist, or a folder holds no readable image.
            ImageReadError: A file cannot be read as an image.
        """
        score_threshold = check("score_threshold", score_threshold, optional(SHARE), error=InputError)
        tiles = None if tile is None else TileParams(tile=tile, overlap=overlap)
        detector = as_shown(self.detector, tta=tta, tiles=tiles)

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

    def _write_published(self, folder: Path, card: CardOptions, **options: Any) -> tuple[str, ...]:
        require_weights(self.detector)
        metadata = DetectorMetadata(tuple(self.category_ids.values()), tuple(self.names.values()))
        return write_published(folder, self.detector, metadata, source=self.source, card=card, **options)

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
