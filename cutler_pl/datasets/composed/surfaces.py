"""Surfaces of composed scenes: cut from the images that scikit-image ships, or generated.

All images used are in scikit-image's wheel and free to use, as its documentation says: CC0 (brick, camera, cat, coffee,
grass, gravel, retina), public domain (astronaut, clock, hubble_deep_field, rocket), no known copyright restrictions
(coins).
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import skimage.data
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from cutler_pl.ops.resize import resize_by_axes

SOURCES = (
    "astronaut", "brick", "camera", "cat", "clock", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
    "retina", "rocket",
)  # fmt: skip

Surface = Float[np.ndarray, "height width 3"]
Grid = Float[np.ndarray, "height width"]


def draw_surface(size_hw: tuple[int, int], rng: np.random.Generator, *, real_share: float = 0.55) -> Surface:
    """A surface of grey levels 0 to 255: with probability `real_share` of a real image, else generated."""
    surface = _cut(size_hw, rng) if rng.random() < real_share else _generate(size_hw, rng)
    light = _smooth(size_hw, (3, 3), rng)
    return np.asarray(surface * (1 + rng.uniform(0, 0.15) * light[..., None]))


def draw_color(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A color, more often pale than strong."""
    color = rng.uniform(5, 250, 3)
    return np.asarray(color.mean() + (color - color.mean()) * rng.beta(1.2, 1.8) * 1.2)


@cache
def _source(name: str) -> UInt8[np.ndarray, "height width 3"]:
    pixels = np.asarray(getattr(skimage.data, name)())
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _cut(size_hw: tuple[int, int], rng: np.random.Generator) -> Surface:
    """A small part of an image, enlarged or not, turned and recolored, so that it is a texture more than a thing."""
    source = _source(SOURCES[int(rng.integers(len(SOURCES)))])
    height, width = source.shape[:2]
    side = int(np.exp(rng.uniform(np.log(24), np.log(min(height, width, 200)))))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = np.rot90(source[top : top + side, left : left + side], int(rng.integers(4)))
    resized = resize_by_axes(Image.fromarray(np.ascontiguousarray(part)), size_hw, Image.Resampling.BICUBIC)
    surface = np.asarray(resized, dtype=np.float64)
    if rng.random() < 0.6 or np.ptp(surface, axis=2).max() < 2:
        surface = _recolor(surface, rng)
    return surface


def _recolor(surface: Surface, rng: np.random.Generator) -> Surface:
    """Brightness between two random colors, mixed with the surface's own color."""
    grey = surface.mean(axis=2)
    grey = (grey - grey.min()) / max(np.ptp(grey), 1.0)
    dark, bright = np.sort([draw_color(rng), draw_color(rng)], axis=0)
    own = rng.uniform(0, 0.5)
    return np.asarray(own * surface + (1 - own) * (dark + grey[..., None] * (bright - dark)))


def _generate(size_hw: tuple[int, int], rng: np.random.Generator) -> Surface:
    """Two colors, mixed by a pattern and some fine noise."""
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))](size_hw, rng)
    first = draw_color(rng)
    second = np.clip(first + rng.normal(0, rng.uniform(5, 60), 3), 0, 255)
    grain = rng.normal(0, rng.uniform(0, 6), size_hw)
    return np.asarray(first + pattern[..., None] * (second - first) + grain[..., None])


def _smooth(size_hw: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> Grid:
    coarse = Image.fromarray(rng.normal(size=cells).astype(np.float32))
    return np.asarray(coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def _fractal(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    """Noise of several scales, the coarse ones stronger."""
    power, first = rng.uniform(0.4, 1.0), int(rng.integers(2, 6))
    cells = [(first * 2**k, first * 2**k) for k in range(5)]
    return np.asarray(0.5 + 0.35 * sum(_smooth(size_hw, c, rng) * 2 ** (-power * k) for k, c in enumerate(cells)))


def _waves(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    """Stripes, straight or bent, soft or hard."""
    turn, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(48)))
    y, x = np.arange(size_hw[0])[:, None], np.arange(size_hw[1])[None]
    bend = _smooth(size_hw, (4, 4), rng) * rng.uniform(0, 12)
    wave = np.sin(2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y + bend) / period)
    return np.asarray(0.5 + 0.5 * np.tanh(rng.uniform(0.7, 5) * wave))


def _checks(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    return np.asarray(np.abs(_waves(size_hw, rng) - _waves(size_hw, rng)))


def _dots(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    share = rng.uniform(0.001, 0.02)
    field = ndimage.gaussian_filter((rng.random(size_hw) < share).astype(np.float64), rng.uniform(0.8, 3))
    return np.asarray(np.clip(field / max(field.max(), 1e-9) * 2, 0, 1))


def _plain(size_hw: tuple[int, int], rng: np.random.Generator) -> Grid:
    return np.zeros(size_hw)


_PATTERNS: tuple[Callable[[tuple[int, int], np.random.Generator], Grid], ...] = (
    _fractal, _fractal, _waves, _checks, _dots, _plain,
)  # fmt: skip
