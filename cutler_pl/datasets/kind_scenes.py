"""Generated scenes whose objects are of a few known kinds, on request in groups that touch.

All objects of a kind have one color, texture and outline; place, size, turn and light differ. They measure what
groups masks by kind, and what splits the mask that touching objects share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from cutler_pl.datasets.scenes import (
    Scene,
    SceneParams,
    draw_color,
    draw_radius,
    paint,
    scene_annotation,
    shade,
    shape_at,
    visible_parts,
)
from cutler_pl.runtime.files import atomic_write, write_json
from cutler_pl.runtime.ranges import Integer, Share, check_fields

_CANDIDATES = 8
_MAX_OVERLAP = 0.2  # how far a touching object reaches into the other, as a share of its radius
_STEP = 0.05  # of the radius, in which it is moved until it touches
_COLOR_JITTER = 6.0


@dataclass(frozen=True, kw_only=True)
class KindParams:
    """The kinds of a set of scenes.

    Args:
        count: Number of kinds.
        seed: Of their looks; scenes of one seed have the same kinds.
        touching: Chance that an object touches the one before it and is of its kind.
    """

    count: Annotated[int, Integer(1, 100)] = 6
    seed: Annotated[int, Integer()] = 0
    touching: Share = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "kinds.")


@dataclass(frozen=True)
class KindScene:
    """A scene and the kind of each of its objects, from 0."""

    scene: Scene
    kinds: list[int]


@dataclass(frozen=True)
class _Object:
    mask: Bool[np.ndarray, "height width"]
    kind: int
    centre_yx: tuple[float, float]
    radius: float


def generate_kind_scene(params: SceneParams, kinds: KindParams, *, seed: int) -> KindScene:
    """Draw one scene; the same parameters and seed give the same pixels."""
    rng = np.random.default_rng(seed)
    colors = _kind_colors(kinds)
    objects = _place(params, kinds, rng)
    image = paint(params.size_hw, _away_from(colors, rng), rng)
    for one in objects:
        color = colors[one.kind] + rng.normal(0, _COLOR_JITTER, 3)
        surface = paint(params.size_hw, color, _look(kinds, one.kind))
        alpha = ndimage.gaussian_filter(one.mask.astype(np.float64), 0.6)[..., None]
        image = alpha * shade(surface, one.mask, rng) + (1 - alpha) * image
    image = ndimage.gaussian_filter(image, (0.5, 0.5, 0)) + rng.normal(0, rng.uniform(1, 5), image.shape)
    visible = np.stack(visible_parts([one.mask for one in objects]))
    return KindScene(Scene(image.clip(0, 255).astype(np.uint8), visible), [one.kind for one in objects])


def write_kind_scenes(folder: Path, count: int, params: SceneParams, kinds: KindParams, *, seed: int) -> None:
    """As `write_scenes`, with a category for each kind: ids from 1, names `kind 1`, `kind 2`, …."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        drawn = generate_kind_scene(params, kinds, seed=seed * 1_000_003 + index)
        name = f"scene_{index:05d}.png"
        with atomic_write(folder / name) as temporary:
            Image.fromarray(drawn.scene.image).save(temporary, format="PNG")
        images.append({"id": index + 1, "file_name": name, "height": params.height, "width": params.width})
        for mask, kind in zip(drawn.scene.masks, drawn.kinds, strict=True):
            record = scene_annotation(mask, len(annotations) + 1, image_id=index + 1)
            annotations.append({**record, "category_id": kind + 1})
    categories = [{"id": number, "name": f"kind {number}"} for number in range(1, kinds.count + 1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder.parent / "annotations.json", coco)


def _place(params: SceneParams, kinds: KindParams, rng: np.random.Generator) -> list[_Object]:
    wanted = int(rng.integers(params.min_objects, params.max_objects + 1))
    objects: list[_Object] = []
    for _ in range(20 * wanted):
        joins = bool(objects) and rng.random() < kinds.touching
        tried = [*objects, _draw(params, kinds, rng, touched=objects[-1] if joins else None)]
        masks = [one.mask for one in tried]
        visible = visible_parts(masks)
        if all(v.sum() >= max(params.min_visible * m.sum(), 1) for v, m in zip(visible, masks, strict=True)):
            objects = tried
        if len(objects) == wanted:
            break
    return objects


def _draw(params: SceneParams, kinds: KindParams, rng: np.random.Generator, *, touched: _Object | None) -> _Object:
    kind = int(rng.integers(kinds.count)) if touched is None else touched.kind
    radius = draw_radius(params, rng)
    turn = float(rng.uniform(0, np.pi))

    def at(y: float, x: float) -> _Object:
        mask = shape_at((y, x), radius, size_hw=params.size_hw, turn=turn, rng=_look(kinds, kind))
        return _Object(mask, kind, (y, x), radius)

    if touched is None:
        return at(*(float(rng.uniform(0.7 * radius, length - 0.7 * radius)) for length in params.size_hw))
    direction, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0, _MAX_OVERLAP) * radius
    dy, dx, (cy, cx) = float(np.sin(direction)), float(np.cos(direction)), touched.centre_yx
    distance = 1.5 * (touched.radius + radius)
    while distance > 0 and not (at(cy + distance * dy, cx + distance * dx).mask & touched.mask).any():
        distance -= _STEP * radius
    return at(cy + (distance - depth) * dy, cx + (distance - depth) * dx)


def _look(kinds: KindParams, kind: int) -> np.random.Generator:
    """What outline and texture of a kind follow from."""
    return np.random.default_rng([kinds.seed, kind])


def _kind_colors(kinds: KindParams) -> list[Float[np.ndarray, "3"]]:
    rng = np.random.default_rng([kinds.seed, kinds.count, 1])
    colors: list[Float[np.ndarray, 3]] = []
    for _ in range(kinds.count):
        colors.append(_away_from(colors, rng))
    return colors


def _away_from(others: Sequence[Float[np.ndarray, "3"]], rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Of some random colors the one that is farthest from its nearest among others."""
    drawn = [draw_color(rng) for _ in range(_CANDIDATES)]
    nearest = [min([float(np.linalg.norm(one - other)) for other in others], default=0.0) for one in drawn]
    return drawn[int(np.argmax(nearest))]
