"""MaskCut that people call: pseudo-masks of an image without a label."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import fields
from pathlib import Path
from typing import cast

import numpy as np
import torch

from cutler_pl.api.device import choose_device
from cutler_pl.api.inputs import ImageInput, Pixels, predict_inputs
from cutler_pl.api.options import features_of, read_generator_option, read_maskcut_option
from cutler_pl.api.result import Result
from cutler_pl.coco.schema import RLE
from cutler_pl.errors import ConfigError
from cutler_pl.generators import build_generator
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.backbones import build_extractors
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.maskcut.generator import Generator, MaskCutGenerator
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import Extractor, MaskPredictor
from cutler_pl.ops.boxes import xywh_to_xyxy
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.ranges import FLAG, check
from cutler_pl.weights.backbones import WeightSource

_NAMES, _CATEGORY_IDS = {1: "fg"}, {1: 1}


class MaskCut:
    """Masks of the objects of an image from self-supervised features.

    Args:
        name: An option of `conf/maskcut/`: `dino_vits8`, `dino_vitb8`, …, or `patch_descriptors`, which needs no
            weights.
        weights: A file, an https address, a hub repository or a state dict; None for the published ones.
        device: `auto` is the GPU if there is one, else the CPU.
        params: Constants of the cut; None for those of the option file.
        crf: Fit the masks to the image's edges by the dense CRF.
        generator: `maskcut`, or an option of `conf/generator/`: `promerge`, `uniap`, `hassod`, or `votecut`, which
            takes several backbones with weights of their own.
        cache: A folder where the features of each image are kept, in half precision; masks may differ a little.

    Raises:
        ConfigError: There is no such option, generator or device, or `params` or `weights` do not go with it.
        CheckpointError: The weights cannot be had, or do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: WeightSource = None,
        device: str | torch.device = "auto",
        params: MaskCutParams | None = None,
        crf: bool = True,
        generator: str = "maskcut",
        cache: str | Path | None = None,
    ) -> None:
        if not isinstance(params, MaskCutParams | None):
            raise ConfigError(
                f"params is a {type(params).__name__}; give MaskCutParams(…), or None for the option's own"
            )
        check("crf", crf, FLAG)
        option, chosen = read_maskcut_option(name), read_generator_option(generator, name)
        backbones = chosen.get("maskcut", {}).get("backbones")
        if params is not None and generator != MaskCutGenerator.name:
            raise ConfigError(f"params are MaskCut's; generator={generator} has options of its own, so leave them out")
        if weights is not None and backbones is not None:
            raise ConfigError(f"weights are of one backbone; generator={generator} takes several, so leave them out")
        self.name = name
        self.device = choose_device(device)
        if weights is not None:
            option["features"]["weights"] = weights
        settings = [option["features"]] if backbones is None else [features_of(entry) for entry in backbones]
        settings = [{**one, "cache": cache} for one in settings]
        extractors = build_extractors(settings, fixed_size=option["fixed_size"], device=self.device)
        known = {field.name for field in fields(MaskCutParams)}
        params = params or MaskCutParams(**{key: value for key, value in option.items() if key in known})
        cut = MaskCutGenerator(params, solver=option["solver"])
        self._set(extractors, build_generator(chosen["generator"]) or cut, fixed_size=option["fixed_size"], crf=crf)

    @classmethod
    def from_features(
        cls,
        extractor: FeatureExtractor,
        *,
        name: str,
        params: MaskCutParams,
        fixed_size: int,
        solver: str = "auto",
        device: str | torch.device = "auto",
    ) -> "MaskCut":
        """MaskCut on features of one's own.

        Args:
            extractor: Computes the patch features, on `device`.
            name: What they are called.
            params: Constants of the cut.
            fixed_size: Side in pixels of the square that images are resized to.
            solver: As for `maskcut`.
            device: `auto` is the GPU if there is one, else the CPU.
        """
        self = cls.__new__(cls)
        self.name, self.device = name, choose_device(device)
        self._set({name: extractor}, MaskCutGenerator(params, solver=solver), fixed_size=fixed_size, crf=True)
        return self

    def with_params(self, params: MaskCutParams, *, crf: bool = True) -> "MaskCut":
        """The same features, cut in another way; weights are shared.

        Raises:
            ConfigError: These masks are not of MaskCut.
        """
        other = copy(self)
        cut = MaskCutGenerator(params, solver=self._cut.solver)
        other._set(self._extractors, cut, fixed_size=self._side, crf=crf)
        return other

    @property
    def params(self) -> MaskCutParams:
        """Constants of the cut.

        Raises:
            ConfigError: These masks are of another generator.
        """
        return self._cut.params

    @property
    def _cut(self) -> MaskCutGenerator:
        if not isinstance(self._generator, MaskCutGenerator):
            raise ConfigError(f"params are MaskCut's; generator={self._generator.name} has options of its own")
        return self._generator

    def _set(self, extractors: Mapping[str, Extractor], generator: Generator, *, fixed_size: int, crf: bool) -> None:
        self._extractors, self._generator, self._side = extractors, generator, fixed_size
        self._predictor = MaskPredictor(extractors, generator, backend="auto" if crf else "none")

    def __repr__(self) -> str:
        return f"MaskCut({self.name!r}, device={str(self.device)!r})"

    def predict(
        self, images: ImageInput | Sequence[ImageInput], *, batch_size: int = 1
    ) -> Result | list[Result] | Iterator[Result]:
        """Find the masks of an image, of several, or of a folder; see `CutLER.predict`.

        The label is always 1; scores are a heuristic from the cut, the refinement and the size (`mask_score`).

        Raises:
            InputError: The list is empty, or something is no image.
            DatasetNotFoundError: A file does not exist, or a folder holds no readable image.
            ImageReadError: A file cannot be read as an image.
        """
        return predict_inputs(images, self._predict, batch_size=batch_size)

    __call__ = predict

    def _predict(self, pixels: list[Pixels], paths: list[Path | None]) -> list[Result]:
        squares = torch.stack([resize_to_square(image, self._side) for image in pixels]).to(self.device)
        found = self._predictor.predict([str(path) for path in paths], squares)
        results = []
        for masks, image, path in zip(found, pixels, paths, strict=True):
            if masks is None:
                raise MemoryError(f"{self._side}×{self._side} pixels do not fit into the memory of {self.device}")
            instances, _ = encode_masks(masks, image.shape[:2], params=AnnotationParams(scores=True))
            instances.sort(key=lambda instance: -instance["score"])
            boxes = xywh_to_xyxy(np.array([instance["bbox"] for instance in instances]).reshape(-1, 4))
            results.append(
                Result(
                    boxes=torch.from_numpy(boxes).float(),
                    scores=torch.tensor([instance["score"] for instance in instances], dtype=torch.float32),
                    labels=torch.ones(len(instances), dtype=torch.int64),
                    names=_NAMES,
                    category_ids=_CATEGORY_IDS,
                    image_size_hw=image.shape[:2],
                    encoded=[cast(RLE, instance["segmentation"]) for instance in instances],
                    image=image if path is None else path,
                )
            )
        return results
