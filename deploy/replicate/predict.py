"""Detections or MaskCut masks of one image, for hosts of Cog (Replicate); see cog.yaml."""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path as LocalPath

from cog import BaseModel, BasePredictor, Input, Path

sys.path.append(str(LocalPath(__file__).resolve().parents[2]))  # the package lies beside, and is not installed

from cutler_pl import CutLER, MaskCut
from cutler_pl.web.api.answers import detections
from cutler_pl.web.api.endpoints import Cutting, Detection
from cutler_pl.web.uploads import UploadLimits, read_upload

LIMITS = UploadLimits()


class Output(BaseModel):
    """The drawn objects, and the same JSON as the HTTP API gives."""

    figure: Path
    detections: Path


class Predictor(BasePredictor):
    """Both models, loaded once."""

    def setup(self) -> None:
        """Load the weights that the environment names."""
        checkpoint = os.environ.get("CUTLER_CHECKPOINT", "tiny_generated")
        self.endpoints = {
            "detect": Detection(CutLER.from_pretrained(checkpoint), model=checkpoint),
            "maskcut": Cutting(MaskCut(os.environ.get("CUTLER_MASKCUT", "patch_descriptors"))),
        }

    def predict(
        self,
        image: Path = Input(description="A JPEG, PNG, WebP, TIFF, BMP, GIF or PPM file"),
        task: str = Input(
            description="detect: a trained detector; maskcut: pseudo-masks without one",
            default="detect",
            choices=["detect", "maskcut"],
        ),
        score_threshold: float = Input(description="Objects score above it", default=0.35, ge=0, le=1),
        max_detections: int = Input(description="Objects, the best ones", default=100, ge=1, le=1000),
    ) -> Output:
        """The objects of an image.

        Raises:
            UploadError: The file is too large, damaged or no image.
        """
        endpoint = self.endpoints[task]
        pixels = read_upload(LocalPath(image).read_bytes(), LIMITS)
        options = endpoint.options(score_threshold=score_threshold, max_detections=max_detections)
        (result,) = endpoint.predict([pixels], [options])
        folder = LocalPath(tempfile.mkdtemp())  # the host takes the files, and removes them
        result.save(folder / "figure.jpg")
        (folder / "detections.json").write_text(json.dumps(asdict(detections(result, endpoint.model))))
        return Output(figure=Path(folder / "figure.jpg"), detections=Path(folder / "detections.json"))
