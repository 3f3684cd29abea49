"""Splitting of a mask that several touching objects of one kind share.

An addition to the paper. The distance to the mask's edge has a peak in the middle of each object and a pass at the
neck between two. Basins of its watershed are merged, the widest neck first, until every two neighbours have a narrow
neck, comparable areas and features that agree.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from cutler_pl.maskcut.params import AnnotationParams, SplitName, WatershedParams

Mask = Bool[np.ndarray, "height width"]
Features = Float[np.ndarray, "dim h w"]


@runtime_checkable
class Splitter(Protocol):
    """A way to split masks."""

    needs_features: bool

    def __call__(self, mask: Mask, features: Features | None, pixel_hw: tuple[float, float]) -> list[Mask]:
        """Parts of a mask, in reading order of their first pixels; the mask alone where it stays whole.

        Args:
            mask: At the size that the features' grid divides.
            features: Patch features of the image; not read where `needs_features` is false.
            pixel_hw: Height and width of the mask's pixels in pixels of the image.
        """
        ...


class KeepWhole:
    """Masks stay as they are."""

    needs_features = False

    def __call__(self, mask: Mask, features: Features | None, pixel_hw: tuple[float, float]) -> list[Mask]:
        """The mask."""
        return [mask]


class WatershedSplitter:
    """Splits at narrow necks between parts whose features agree.

    Further components of a mask count as neighbours of its largest one, with a neck of 0.
    """

    needs_features = True

    def __init__(self, params: WatershedParams) -> None:
        self.params = params

    def __call__(self, mask: Mask, features: Features | None, pixel_hw: tuple[float, float]) -> list[Mask]:
        """See `Splitter`."""
        assert features is not None  # kept by the predictor, as `needs_features` asks for
        distance = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=pixel_hw)[1:-1, 1:-1]
        labels = _basins(mask, distance)
        if labels.max() < 2:
            return [mask]
        owner = self._merge(labels, distance, features)
        merged = owner[labels]
        return [merged == number for number in dict.fromkeys(merged[mask].tolist())]

    def _merge(
        self, labels: Int64[np.ndarray, "height width"], distance: Float[np.ndarray, "height width"], features: Features
    ) -> Int64[np.ndarray, " basins"]:
        """For each basin the basin that it is merged into; basin 0 is the background."""
        count = int(labels.max()) + 1
        pairs, passes = _neighbours(labels, distance)
        owner = np.arange(count)
        area = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
        peak = np.zeros(count)
        np.maximum.at(peak, labels.ravel(), distance.ravel())
        feature_sums = _feature_sums(labels, count, features)
        while True:
            roots = owner[pairs]
            necks = passes / peak[roots].min(1)
            is_open = roots[:, 0] != roots[:, 1]
            is_bad = is_open & ((necks > self.params.max_neck) | (_ratios(area[roots]) < self.params.min_part))
            if not is_bad.any():
                is_bad = is_open & (_cosines(feature_sums, roots) < self.params.min_similarity)
            if not is_bad.any():
                return owner
            kept, gone = roots[np.where(is_bad, necks, -1.0).argmax()]
            owner[owner == gone] = kept
            area[kept] += area[gone]
            peak[kept] = max(peak[kept], peak[gone])
            feature_sums[kept] += feature_sums[gone]


SPLITTERS: Mapping[SplitName, Callable[[WatershedParams], Splitter]] = MappingProxyType(
    {"none": lambda _: KeepWhole(), "watershed": WatershedSplitter}
)


def build_splitter(params: AnnotationParams) -> Splitter:
    """The way to split that the parameters name."""
    return SPLITTERS[params.split](params.watershed)


def _basins(mask: Mask, distance: Float[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    """The basin of each pixel of the mask, from 1; 0 elsewhere."""
    smooth = np.where(mask, ndimage.gaussian_filter(distance, 1.0), 0.0)
    peaks = local_maxima(smooth, connectivity=1)  # type: ignore[no-untyped-call]
    markers, _ = ndimage.label(peaks & mask)
    basins = watershed(-smooth, markers, mask=mask)  # type: ignore[no-untyped-call]
    return np.asarray(basins, dtype=np.int64)


def _neighbours(
    labels: Int64[np.ndarray, "height width"], distance: Float[np.ndarray, "height width"]
) -> tuple[Int64[np.ndarray, "pairs 2"], Float[np.ndarray, " pairs"]]:
    """Pairs of basins that touch, and the distance at the highest pass between them.

    A component is a neighbour of the largest one, with a pass of 0, through its first basin and that one's.
    """
    sides, heights = [], []
    for axis in (0, 1):
        first, second = (np.moveaxis(labels, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        near, far = (np.moveaxis(distance, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        at_border = (first != second) & (first > 0) & (second > 0)
        sides.append(np.stack([first[at_border], second[at_border]], 1))
        heights.append(np.minimum(near[at_border], far[at_border]))
    touching, which = np.unique(np.sort(np.concatenate(sides), 1), axis=0, return_inverse=True)
    passes = np.zeros(len(touching))
    np.maximum.at(passes, which.ravel(), np.concatenate(heights))
    apart = _apart(labels)
    return np.concatenate([touching, apart]).astype(np.int64), np.concatenate([passes, np.zeros(len(apart))])


def _apart(labels: Int64[np.ndarray, "height width"]) -> Int64[np.ndarray, "pairs 2"]:
    """A basin of the largest component with one of each other component."""
    components, count = ndimage.label(labels > 0)
    _, first = np.unique(components, return_index=True)
    basins = labels.ravel()[first]
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    others = [number for number in range(1, count + 1) if number != largest]
    found = np.stack([np.full(len(others), basins[largest]), basins[others]], 1)
    return np.asarray(found, dtype=np.int64)


def _feature_sums(
    labels: Int64[np.ndarray, "height width"], count: int, features: Features
) -> Float[np.ndarray, "basins dim"]:
    """Sum over the patches of their features times the pixels that each basin has of them."""
    dim, h, w = features.shape
    rows, columns = (np.arange(size) * cells // size for size, cells in zip(labels.shape, (h, w), strict=True))
    patches = rows[:, None] * w + columns[None]
    pixels = np.bincount((labels * (h * w) + patches).ravel(), minlength=count * h * w).reshape(count, h * w)
    return np.asarray(pixels @ features.reshape(dim, h * w).T.astype(np.float64))


def _cosines(sums: Float[np.ndarray, "basins dim"], pairs: Int64[np.ndarray, "pairs 2"]) -> Float[np.ndarray, " pairs"]:
    directions = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.asarray((directions[pairs[:, 0]] * directions[pairs[:, 1]]).sum(1))


def _ratios(values: Float[np.ndarray, "pairs 2"]) -> Float[np.ndarray, " pairs"]:
    """The smaller over the larger."""
    return np.asarray(values.min(1) / values.max(1))
