"""One composed scene: background, clutter, objects with light and shadow, and what a camera adds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cutler_pl.datasets.composed.outlines import draw_outline
from cutler_pl.datasets.composed.surfaces import draw_color, draw_surface
from cutler_pl.datasets.scenes import Scene, SceneParams, visible_parts

Mask = Bool[np.ndarray, "height width"]
Pixels = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class _Placed:
    """An object before painting: its parts, and from which seed their surfaces are drawn."""

    parts: list[Mask]
    seed: int

    @property
    def mask(self) -> Mask:
        return np.asarray(np.any(self.parts, axis=0))


def compose_scene(params: SceneParams, *, seed: int) -> Scene:
    """Draw one scene; the same parameters and seed give the same pixels. Half of them are turned by 90 degrees."""
    rng = np.random.default_rng(seed)
    size_hw = params.size_hw if rng.random() < 0.5 else params.size_hw[::-1]
    objects = _place(size_hw, params, rng)
    masks = [placed.mask for placed in objects]
    light = rng.uniform(0, 2 * np.pi)
    image = _background(size_hw, rng)
    for placed, mask in zip(objects, masks, strict=True):
        window = _window(mask)
        view = _cast_shadow(image[window], mask[window], light, rng)
        parts = [part[window] for part in placed.parts]
        image[window] = _paint_object(view, _Placed(parts, placed.seed), light, rng)
    return Scene(_photograph(image, rng), np.stack(visible_parts(masks)))


def _place(size_hw: tuple[int, int], params: SceneParams, rng: np.random.Generator) -> list[_Placed]:
    """Objects of sizes that are uniform in the logarithm; some stand in groups of one kind."""
    wanted = int(rng.integers(params.min_objects, params.max_objects + 1))
    objects: list[_Placed] = []
    kind, size, group = 0, 0.0, 0
    for _ in range(15 * wanted):
        if group == 0:
            kind = int(rng.integers(2**31))
            size = float(np.exp(rng.uniform(np.log(params.min_radius), np.log(params.max_radius))))
            group = int(rng.integers(2, 7)) if rng.random() < 0.25 else 1
        radius = size * min(size_hw) * float(rng.uniform(0.9, 1.1))
        centre_yx = (float(rng.uniform(0, size_hw[0])), float(rng.uniform(0, size_hw[1])))
        parts = draw_outline(size_hw, np.random.default_rng(kind), radius=radius, centre_yx=centre_yx)
        tried = [*objects, _Placed(parts, kind)]
        if _all_visible([placed.mask for placed in tried], params.min_visible, np.pi * radius**2):
            objects, group = tried, group - 1
        elif rng.random() < 0.3:
            group = 0
        if len(objects) == wanted:
            break
    return objects or _place(size_hw, params, rng)


def _window(mask: Mask) -> tuple[slice, slice]:
    """The box of an object and as much around it as its shadow and its blurred edge need."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = 10 + int(0.35 * np.sqrt(mask.sum()))
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    return slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)


def _all_visible(masks: list[Mask], least: float, disk: float) -> bool:
    if masks[-1].sum() < max(0.15 * disk, 20):  # outside the scene
        return False
    return all(v.sum() >= least * m.sum() for v, m in zip(visible_parts(masks), masks, strict=True))


def _background(size_hw: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """One to three regions of surfaces with a bent border, some out of focus, and clutter too small to count."""
    image = draw_surface(size_hw, rng)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2]))):
        turn, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35)
        y, x = np.linspace(-0.5, 0.5, size_hw[0])[:, None], np.linspace(-0.5, 0.5, size_hw[1])[None]
        along = np.cos(turn) * x - np.sin(turn) * y
        bent = np.cos(turn) * y + np.sin(turn) * x + rng.uniform(0, 0.06) * np.sin(rng.uniform(4, 30) * along)
        image = _lay(image, draw_surface(size_hw, rng), bent > shift, softness=rng.uniform(0.5, 4))
    if rng.random() < 0.5:
        image = ndimage.gaussian_filter(image, (*[rng.uniform(0.5, 4)] * 2, 0))
    for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.5 else 0):
        centre_yx = (float(rng.uniform(0, size_hw[0])), float(rng.uniform(0, size_hw[1])))
        speck = draw_outline(size_hw, rng, radius=float(rng.uniform(1.0, 3.5)), centre_yx=centre_yx)[0]
        image = _lay(image, np.full_like(image, draw_color(rng)), speck, softness=0.6)
    return image


def _lay(image: Pixels, surface: Pixels, mask: Mask, *, softness: float) -> Pixels:
    alpha = ndimage.gaussian_filter(mask.astype(np.float64), softness)[..., None]
    return np.asarray(alpha * surface + (1 - alpha) * image)


def _cast_shadow(image: Pixels, mask: Mask, light: float, rng: np.random.Generator) -> Pixels:
    """A soft, shifted dark copy of the outline, away from the light."""
    if rng.random() < 0.35:
        return image
    reach = rng.uniform(0.02, 0.15) * np.sqrt(mask.sum())
    moved = ndimage.shift(mask.astype(np.float64), (-reach * np.sin(light), -reach * np.cos(light)), order=1)
    soft = ndimage.gaussian_filter(moved, max(0.6 * reach, 1.0))
    return np.asarray(image * (1 - rng.uniform(0.15, 0.6) * soft[..., None]))


def _paint_object(image: Pixels, placed: _Placed, light: float, rng: np.random.Generator) -> Pixels:
    """Lay the parts on the image, whose surfaces differ from what lies around, shaded as a round body."""
    mask = placed.mask
    size_hw = (mask.shape[0], mask.shape[1])
    own = np.random.default_rng(placed.seed)
    around = ndimage.binary_dilation(mask, iterations=6) & ~mask
    behind = image[around].mean(axis=0) if around.any() else image.mean(axis=(0, 1))
    shades = _shading(mask, light, own)
    softness = rng.uniform(0.4, 1.2)
    for index, part in enumerate(placed.parts):
        surface = draw_surface(size_hw, own, real_share=0.6)
        for _ in range(4):
            if not part.any() or np.linalg.norm(surface[part].mean(axis=0) - behind) > (35 if index == 0 else 25):
                break
            surface = draw_surface(size_hw, own, real_share=0.6)
        image = _lay(image, surface * shades[..., None], part, softness=softness)
    return image


def _shading(mask: Mask, light: float, rng: np.random.Generator) -> Float[np.ndarray, "height width"]:
    """Brightness of a body that is higher in its middle, lit from one side; flat in a quarter of the cases."""
    if rng.random() < 0.25:
        return np.ones(mask.shape)
    depth = ndimage.distance_transform_edt(mask)
    dome = ndimage.gaussian_filter(np.sqrt(depth / max(depth.max(), 1e-9)), max(0.08 * float(depth.max()), 1.0))
    slope_y, slope_x = np.gradient(dome * float(depth.max()))
    lit = -(slope_y * np.sin(light) + slope_x * np.cos(light)) * rng.uniform(0.1, 0.5)
    return np.asarray(np.clip(1 + lit, 0.4, 1.5))


def _photograph(image: Pixels, rng: np.random.Generator) -> np.ndarray:
    """Color cast, contrast, gamma, vignette, blur and noise."""
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * (0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.3))
    image = (image - 128) * rng.uniform(0.7, 1.25) + 128 + rng.uniform(-20, 20) + rng.normal(0, 6, 3)
    image = 255 * (np.clip(image, 0, 255) / 255) ** np.exp(rng.uniform(-0.3, 0.3))
    y, x = np.linspace(-1, 1, image.shape[0])[:, None, None], np.linspace(-1, 1, image.shape[1])[None, :, None]
    image = image * (1 - rng.uniform(0, 0.15) * (y**2 + x**2))
    blur = rng.uniform(0, 1.2)
    image = ndimage.gaussian_filter(image, (blur, blur, 0)) if blur > 0.3 else image
    image = image + rng.normal(0, rng.uniform(0, 6), image.shape)
    return np.asarray(image.clip(0, 255).astype(np.uint8))
