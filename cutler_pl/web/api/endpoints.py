"""What the API computes: detections of a detector, masks of MaskCut; images and options in, results out."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Generic, cast

import numpy as np

from cutler_pl.api.cutler import CutLER
from cutler_pl.api.inputs import Pixels
from cutler_pl.api.maskcut import MaskCut
from cutler_pl.api.result import Result
from cutler_pl.web.api.options import MaskCutOptions, Options, RequestOptions


class Endpoint(ABC, Generic[Options]):
    """A path of the API.

    Attributes:
        path: Of its address.
        summary: What it gives, in one line.
        options: The class of its form fields.
        model: What answers name as their model.
    """

    path: str
    summary: str
    options: type[Options]
    model: str

    @abstractmethod
    def batch_key(self, options: Options) -> Hashable:
        """Images of the same key go through a network together."""

    @abstractmethod
    def predict(self, images: Sequence[Pixels], options: Sequence[Options]) -> list[Result]:
        """One result per image; all options have the same key."""

    def warm_up(self) -> None:
        """Predict once, so that what is compiled at first use does not wait for the first request."""
        pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        self.predict([pixels], [self.options()])


class Detection(Endpoint[RequestOptions]):
    """Detections of a detector; all images go through it together, whatever their options."""

    path = "/predict"
    summary = "Detections of a trained detector"
    options = RequestOptions

    def __init__(self, detector: CutLER, *, model: str) -> None:
        self.detector = detector
        self.model = model

    def batch_key(self, options: RequestOptions) -> Hashable:
        """Always the same: suppression goes by falling scores, so a lower threshold changes no better detection."""
        return None

    def predict(self, images: Sequence[Pixels], options: Sequence[RequestOptions]) -> list[Result]:
        """Detections at the lowest threshold of all, of which each image keeps those above its own."""
        own = self.detector.detector.config.score_threshold
        thresholds = [own if one.score_threshold is None else one.score_threshold for one in options]
        found = cast(
            list[Result],
            self.detector.predict([*images], score_threshold=min(thresholds), batch_size=len(images)),
        )
        return [
            result[result.scores > threshold][: one.max_detections]
            for result, threshold, one in zip(found, thresholds, options, strict=True)
        ]


class Cutting(Endpoint[MaskCutOptions]):
    """Masks of MaskCut; images with the same constants go through it together."""

    path = "/maskcut"
    summary = "Pseudo-masks of MaskCut, without a trained detector"
    options = MaskCutOptions

    def __init__(self, maskcut: MaskCut) -> None:
        self.maskcut = maskcut
        self.model = maskcut.name

    def batch_key(self, options: MaskCutOptions) -> Hashable:
        """The constants of the cut, and whether masks are refined."""
        return options.params(self.maskcut.params), options.crf

    def predict(self, images: Sequence[Pixels], options: Sequence[MaskCutOptions]) -> list[Result]:
        """Masks, best first."""
        cut = self.maskcut.with_params(options[0].params(self.maskcut.params), crf=options[0].crf)
        found = cast(list[Result], cut.predict([*images], batch_size=len(images)))
        return [
            result[result.scores > (one.score_threshold or 0.0)][: one.max_detections]
            for result, one in zip(found, options, strict=True)
        ]
