"""Distinguishable colors from OKLab (B. Ottosson, "A perceptual color space for image processing", 2020)."""

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

_GOLDEN_ANGLE_DEG = 137.50776405003785
_LIGHTNESS_CYCLE = (0.86, 0.68, 0.92, 0.63, 0.65, 0.71, 0.65, 0.73, 0.64)
_FIRST_HUE_DEG = 190.0  # cyan, magenta and yellow come first: rare in images
_LMS_FROM_OKLAB = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array([
    [4.0767416621, -3.3077115913, 0.2309699292],
    [-1.2684380046, 2.6097574011, -0.3413193965],
    [-0.0041960863, -0.7034186147, 1.7076147010],
])  # fmt: skip


def instance_color(index: int) -> UInt8[np.ndarray, "3"]:
    """Bright color of an instance by its number, far from those of its neighbors in hue and lightness."""
    lightness = np.array([_LIGHTNESS_CYCLE[index % len(_LIGHTNESS_CYCLE)]])
    return _srgb(_oklab(lightness, chroma=0.25, hue_deg=_FIRST_HUE_DEG + index * _GOLDEN_ANGLE_DEG)).reshape(3)


def line_color(index: int) -> UInt8[np.ndarray, "3"]:
    """Color of a line by its number, readable on white and on black."""
    return _srgb(_oklab(np.array([0.63]), chroma=0.15, hue_deg=255.0 + index * _GOLDEN_ANGLE_DEG)).reshape(3)


@cache
def diverging_table(steps: int = 257) -> UInt8[np.ndarray, "steps 3"]:
    """Blue over near-white to orange-red; both ends equally dark, the middle entry neutral grey."""
    position = np.linspace(-1.0, 1.0, steps)
    strength = np.abs(position)
    cold = _oklab(0.97 - 0.52 * strength, chroma=0.17 * strength, hue_deg=258.0)
    warm = _oklab(0.97 - 0.52 * strength, chroma=0.17 * strength, hue_deg=38.0)
    table = _srgb(np.where(position[:, None] < 0, cold, warm))
    table.setflags(write=False)
    return table


def text_color(background: UInt8[np.ndarray, "3"]) -> tuple[int, int, int]:
    """Black or white, whichever has more WCAG contrast with `background`."""
    srgb = background / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def _oklab(
    lightness: Float[np.ndarray, " n"], *, chroma: Float[np.ndarray, " n"] | float, hue_deg: float
) -> Float[np.ndarray, "n 3"]:
    hue = np.deg2rad(hue_deg)
    chroma = np.broadcast_to(np.asarray(chroma, dtype=np.float64), lightness.shape)
    return np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


def _srgb(oklab: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    linear = ((oklab @ _LMS_FROM_OKLAB.T) ** 3 @ _RGB_FROM_LMS.T).clip(0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    scaled: np.ndarray = np.rint(encoded * 255)
    return scaled.astype(np.uint8)
