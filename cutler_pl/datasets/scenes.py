"""Generated scenes with exact ground truth: textured objects on textured backgrounds, with occlusion.

The quickstart measures pseudo-masks and detectors against them. They are made of what low-level cues can see (color,
texture, shape), not of objects that a pretrained network would know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from cutler_pl.coco import rle
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import atomic_write, write_json
from cutler_pl.runtime.ranges import Integer, Number, Share, check_fields

Grid = Float[np.ndarray, "height width"]
Side = Annotated[int, Integer(16, 4096)]
Objects = Annotated[int, Integer(1, 100)]
Radius = Annotated[float, Number(above=0, max=0.5)]
Scenes = Annotated[int, Integer(1, 1_000_000)]


@dataclass(frozen=True, kw_only=True)
class SceneParams:
    """What the scenes look like: pixels, and objects per scene.

    Args:
        min_radius: Smallest object radius as a share of the shorter side.
        max_radius: Largest object radius as a share of the shorter side.
        min_visible: Share of an object that later objects must leave visible, or they are placed elsewhere.
    """

    height: Side = 240
    width: Side = 240
    min_objects: Objects = 1
    max_objects: Objects = 5
    min_radius: Radius = 0.09
    max_radius: Radius = 0.24
    min_visible: Share = 0.5

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def __post_init__(self) -> None:
        check_fields(self)
        for low, high in (("min_objects", "max_objects"), ("min_radius", "max_radius")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"{low}={getattr(self, low)} must be at most {high}={getattr(self, high)}")


@dataclass(frozen=True)
class Scene:
    """One image and the visible part of each of its objects, the rearmost first."""

    image: UInt8[np.ndarray, "height width 3"]
    masks: Bool[np.ndarray, "gt height width"]


def generate_scene(params: SceneParams, *, seed: int) -> Scene:
    """Draw one scene; the same parameters and seed give the same pixels."""
    rng = np.random.default_rng(seed)
    masks = _place_objects(params, rng)
    base_lab = draw_color(rng)
    image = paint(params.size_hw, base_lab, rng)
    for mask in masks:
        surface = paint(params.size_hw, _color_away_from(base_lab, rng), rng)
        alpha = ndimage.gaussian_filter(mask.astype(np.float64), 0.6)[..., None]
        image = alpha * shade(surface, mask, rng) + (1 - alpha) * image
    image = ndimage.gaussian_filter(image, (0.5, 0.5, 0)) + rng.normal(0, rng.uniform(1, 5), image.shape)
    return Scene(image.clip(0, 255).astype(np.uint8), np.stack(visible_parts(masks)))


def write_scenes(folder: Path, count: int, params: SceneParams, *, seed: int, with_annotations: bool = True) -> None:
    """Write `count` scenes as PNG files and, beside the folder, their ground truth as `annotations.json`.

    Scenes of different seeds have nothing in common. The ground truth has one category, and ids from 1.
    """
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        scene = generate_scene(params, seed=seed * 1_000_003 + index)
        name = f"scene_{index:05d}.png"
        with atomic_write(folder / name) as temporary:
            Image.fromarray(scene.image).save(temporary, format="PNG")
        images.append({"id": index + 1, "file_name": name, "height": params.height, "width": params.width})
        for mask in scene.masks:
            annotations.append(scene_annotation(mask, len(annotations) + 1, image_id=index + 1))
    if with_annotations:
        coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
        write_json(folder.parent / "annotations.json", coco)


def scene_annotation(mask: Bool[np.ndarray, "height width"], annotation_id: int, *, image_id: int) -> dict[str, object]:
    """The COCO annotation of one object."""
    code = rle.encode(mask)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "segmentation": code,
        "bbox": [float(v) for v in rle.bbox(code)],
        "area": int(mask.sum()),
        "iscrowd": 0,
    }


def _place_objects(params: SceneParams, rng: np.random.Generator) -> list[Bool[np.ndarray, "height width"]]:
    wanted = int(rng.integers(params.min_objects, params.max_objects + 1))
    masks: list[Bool[np.ndarray, "height width"]] = []
    for _ in range(20 * wanted):
        tried = [*masks, draw_shape(params, rng)]
        if all(v.sum() >= params.min_visible * m.sum() for v, m in zip(visible_parts(tried), tried, strict=True)):
            masks = tried
        if len(masks) == wanted:
            break
    return masks


def visible_parts(masks: list[np.ndarray]) -> list[np.ndarray]:
    """What later masks leave of each mask."""
    return [mask & ~np.any([np.zeros_like(mask), *masks[i + 1 :]], axis=0) for i, mask in enumerate(masks)]


def draw_shape(params: SceneParams, rng: np.random.Generator) -> Bool[np.ndarray, "height width"]:
    """One shape around a random centre."""
    height, width = params.size_hw
    radius = draw_radius(params, rng)
    cy, cx = rng.uniform(0.7 * radius, height - 0.7 * radius), rng.uniform(0.7 * radius, width - 0.7 * radius)
    return shape_at((cy, cx), radius, size_hw=params.size_hw, turn=rng.uniform(0, np.pi), rng=rng)


def draw_radius(params: SceneParams, rng: np.random.Generator) -> float:
    """Nominal radius of an object in pixels."""
    return float(rng.uniform(params.min_radius, params.max_radius) * min(params.size_hw))


def shape_at(
    centre_yx: tuple[float, float], radius: float, *, size_hw: tuple[int, int], turn: float, rng: np.random.Generator
) -> Bool[np.ndarray, "height width"]:
    """One outline around a centre: r(angle) of an ellipse, a polygon or a smooth blob, as `rng` says, turned."""
    height, width = size_hw
    dy, dx = np.arange(height)[:, None] + 0.5 - centre_yx[0], np.arange(width)[None] + 0.5 - centre_yx[1]
    stretch = rng.uniform(0.6, 1.0)
    u = (np.cos(turn) * dx + np.sin(turn) * dy) / radius
    v = (-np.sin(turn) * dx + np.cos(turn) * dy) / (radius * stretch)
    outline = _OUTLINES[int(rng.integers(len(_OUTLINES)))]
    return np.asarray(np.hypot(u, v) <= outline(np.arctan2(v, u), rng))


def _ellipse(angle: Grid, rng: np.random.Generator) -> Grid:
    return np.ones_like(angle)


def _polygon(angle: Grid, rng: np.random.Generator) -> Grid:
    corners = int(rng.integers(3, 7))
    within = np.mod(angle, 2 * np.pi / corners) - np.pi / corners
    return np.asarray(np.cos(np.pi / corners) / np.cos(within) * 1.15)


def _blob(angle: Grid, rng: np.random.Generator) -> Grid:
    radius = np.ones_like(angle)
    for frequency in (2, 3, 5):
        radius += rng.uniform(0, 0.35 / frequency) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    return radius


_OUTLINES: tuple[Callable[[Grid, np.random.Generator], Grid], ...] = (_ellipse, _polygon, _blob)


def draw_color(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A color, not quite black or white."""
    return rng.uniform((30, 30, 30), (225, 225, 225))


def _color_away_from(other: Float[np.ndarray, "3"], rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A color whose RGB distance to another is at least 70 of 441: visible, not shrill."""
    while True:
        color = draw_color(rng)
        if np.linalg.norm(color - other) >= 70:
            return color


def paint(
    size_hw: tuple[int, int], color: Float[np.ndarray, "3"], rng: np.random.Generator
) -> Float[np.ndarray, "height width 3"]:
    """A surface: one color, modulated by one texture in brightness and tint, and by a slow gradient."""
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](size_hw, rng)
    slow = _gradient(size_hw, rng)
    contrast, tint = rng.uniform(5, 28), rng.normal(0, 8, 3)
    return color + texture[..., None] * (contrast + tint) + slow[..., None] * rng.uniform(3, 12)


def shade(surface: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, so that objects have some body."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    angle = rng.uniform(0, 2 * np.pi)
    dy, dx = np.arange(height)[:, None] - rows.mean(), np.arange(width)[None] - columns.mean()
    along = (np.cos(angle) * dx + np.sin(angle) * dy) / max(np.ptp(rows), np.ptp(columns), 1)
    return np.asarray(surface * (1 + rng.uniform(0, 0.35) * along[..., None]))


def _noise(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    field = ndimage.gaussian_filter(rng.normal(size=size_hw), rng.uniform(1.0, 6.0), mode="wrap", truncate=3.0)
    return np.asarray(field / (field.std() + 1e-9))


def _gradient(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    """Uneven light: random values on a 4 x 4 grid, smoothly interpolated."""
    coarse = Image.fromarray(rng.normal(size=(4, 4)).astype(np.float32))
    return np.asarray(coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def _stripes(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    turn, period = rng.uniform(0, np.pi), rng.uniform(5, 22)
    y, x = np.arange(size_hw[0])[:, None], np.arange(size_hw[1])[None]
    phase = 2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y) / period + rng.uniform(0, 2 * np.pi)
    return np.asarray(np.sqrt(2) * np.sin(phase))


def _checks(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    return np.asarray(np.sign(_stripes(size_hw, rng)) * np.sign(_stripes(size_hw, rng)))


def _plain(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    return np.zeros(size_hw)


_TEXTURES: tuple[Callable[[tuple[int, int], np.random.Generator], Grid], ...] = (_noise, _stripes, _checks, _plain)
