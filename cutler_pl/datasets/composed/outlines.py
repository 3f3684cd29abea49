"""Outlines of the objects of composed scenes: simple shapes, blobs, and bodies of several parts."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

Plane = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]


def draw_outline(
    size_hw: tuple[int, int], rng: np.random.Generator, *, radius: float, centre_yx: tuple[float, float]
) -> list[Mask]:
    """The parts of one object, each a mask of the whole scene; later parts lie in front of earlier ones.

    Args:
        size_hw: Height and width of the scene.
        rng: Random choices.
        radius: About half the object's length, in pixels.
        centre_yx: Where it stands, in pixels.
    """
    height, width = size_hw
    dy = (np.arange(height)[:, None] + 0.5 - centre_yx[0]) / radius
    dx = (np.arange(width)[None] + 0.5 - centre_yx[1]) / radius
    turn = rng.uniform(0, 2 * np.pi)
    u, v = np.cos(turn) * dx + np.sin(turn) * dy, -np.sin(turn) * dx + np.cos(turn) * dy
    if rng.random() < 0.35:
        return _body(u, v, rng)
    return [_shape(u, v, rng, stretch=rng.uniform(0.3, 1.0))]


def _body(u: Plane, v: Plane, rng: np.random.Generator) -> list[Mask]:
    """A trunk and one to four smaller parts that stand at its edge."""
    stretch, scale = rng.uniform(0.4, 0.9), 0.7
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.5)
        cu, cv = scale * np.cos(angle), scale * stretch * np.sin(angle)
        lean = angle + rng.normal(0, 0.5)
        pu, pv = u - cu, v - cv
        qu, qv = np.cos(lean) * pu + np.sin(lean) * pv, -np.sin(lean) * pu + np.cos(lean) * pv
        parts.append(_shape(qu / size, qv / size, rng, stretch=rng.uniform(0.35, 1.0)))
    trunk = _shape(u / scale, v / scale, rng, stretch=stretch)
    return [*parts, trunk] if rng.random() < 0.5 else [trunk, *parts]


def _shape(u: Plane, v: Plane, rng: np.random.Generator, *, stretch: float) -> Mask:
    v = v / stretch
    outline = _OUTLINES[int(rng.integers(len(_OUTLINES)))]
    return np.asarray(np.hypot(u, v) <= outline(np.arctan2(v, u), rng))


def _ellipse(angle: Plane, rng: np.random.Generator) -> Plane:
    return np.ones_like(angle)


def _box(angle: Plane, rng: np.random.Generator) -> Plane:
    """A rectangle with more or less round corners."""
    power = rng.uniform(3, 12)
    return np.asarray((np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power))


def _polygon(angle: Plane, rng: np.random.Generator) -> Plane:
    corners = int(rng.integers(3, 7))
    within = np.mod(angle, 2 * np.pi / corners) - np.pi / corners
    return np.asarray(np.cos(np.pi / corners) / np.cos(within) * 1.15)


def _star(angle: Plane, rng: np.random.Generator) -> Plane:
    points = int(rng.integers(4, 9))
    return np.asarray(0.8 + rng.uniform(0.1, 0.3) * np.cos(points * angle))


def _blob(angle: Plane, rng: np.random.Generator) -> Plane:
    radius = np.full_like(angle, 0.9)
    for frequency in (2, 3, 4, 5, 7):
        radius += rng.uniform(0, 0.5 / frequency) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    return radius


_OUTLINES: tuple[Callable[[Plane, np.random.Generator], Plane], ...] = (
    _ellipse, _box, _polygon, _star, _blob, _blob, _blob,
)  # fmt: skip
