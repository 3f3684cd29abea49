"""Several generators, or settings of one, on the same images: the features of an image are computed once."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from cutler_pl.coco.failures import FAILURES_NAME
from cutler_pl.coco.parts import PartWriter, ShardRecord
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import MaskPredictor
from cutler_pl.maskcut.shared_features import SharedFeatures
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Variant:
    """One way to find masks.

    Attributes:
        predictor: Its extractors are shared with other variants.
        side: Side of the square to which images are resized, in pixels.
        annotation: What is written of a mask; scores are, whatever it says.
    """

    predictor: MaskPredictor
    side: int
    annotation: AnnotationParams

    @property
    def features(self) -> list[SharedFeatures]:
        """Its extractors."""
        return [one for one in self.predictor.extractors.values() if isinstance(one, SharedFeatures)]


class VariantMasks(NamedTuple):
    """What a variant found in an image.

    Attributes:
        record: The annotations, or the reason of a failure.
        seconds: From the features to the annotations.
        feature_seconds: Of its features, which other variants may have taken, too.
    """

    record: ShardRecord
    seconds: float
    feature_seconds: float


class ImageVariants(NamedTuple):
    """The masks of all variants in an image."""

    name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    masks: Mapping[str, VariantMasks]


def find_variants(
    root: Path,
    names: Sequence[str],
    variants: Mapping[str, Variant],
    *,
    device: torch.device,
    on_failure: Callable[[str, str], None],
) -> Iterator[ImageVariants]:
    """The masks of each variant, image by image.

    The first image is cut twice, so that no variant's time has the start of the kernels in it.

    Args:
        root: Folder of the images.
        names: Their paths relative to it.
        variants: By name.
        device: Where to run.
        on_failure: Called with the name of an image that cannot be read, and the reason; it is left out.
    """
    shared = {id(one): one for variant in variants.values() for one in variant.features}.values()
    is_warm = False
    for name in names:
        try:
            pixels = read_image(root / name)
        except ImageReadError as error:
            on_failure(name, str(error).removeprefix(f"{root / name}: "))
            continue
        for one in shared:
            one.forget()
        if not is_warm:
            is_warm = bool([_find(name, pixels, variant, device) for variant in variants.values()])
        yield ImageVariants(name, pixels, {key: _find(name, pixels, one, device) for key, one in variants.items()})


def _find(
    name: str, pixels: UInt8[np.ndarray, "height width 3"], variant: Variant, device: torch.device
) -> VariantMasks:
    square = resize_to_square(pixels, variant.side)[None].to(device)
    before, start = sum(one.seconds for one in variant.features), time.perf_counter()
    (found,) = variant.predictor.predict([name], square)
    height, width = pixels.shape[:2]
    if found is None:
        record = ShardRecord(file=name, failure="out of memory, even alone; choose a smaller fixed size")
    else:
        params = replace(variant.annotation, scores=True)
        annotations, dropped = encode_masks(found, (height, width), params=params)
        dropped.update(found.dropped)
        record = ShardRecord(file=name, height=height, width=width, annotations=annotations, dropped=dict(dropped))
    elapsed = time.perf_counter() - start
    features = sum(one.seconds for one in variant.features)
    return VariantMasks(record, elapsed - (features - before), features)


def write_annotations(folder: Path, records: Sequence[ShardRecord]) -> None:
    """Write `annotations.json` and `failures.jsonl` of a few records, as a run of `generate` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shard-", dir=folder) as scratch:
        shard = Path(scratch) / "records.jsonl"
        with PartWriter(shard) as writer:
            writer.append(records)
        merge_shards([shard], folder / "annotations.json", failures=folder / FAILURES_NAME)
