"""The strong view of an image: other colors, blur and erased rectangles, without any change of its geometry.

The mean teacher sees images as they are loaded and its student their strong view, so the teacher's boxes and masks
apply there as they are. Random draws depend on the seed, the step and the place of the image in the global batch alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cutler_pl.data.augmentation import build_transform
from cutler_pl.runtime.seeding import generator
from cutler_pl.types import ImageTensor

_STRONG = 4  # part of the keys: these draws, those of the data and those of the regions are independent


class StrongView:
    """Changes the colors and pixels of images; what is None is off.

    Args:
        color_jitter: A transform of `kornia.augmentation`, or a `functools.partial` that builds it; so are the others.
        grayscale: Takes the colors away.
        blur: Blurs.
        erasing: Fill a rectangle each, one after the other, by names of any choice.

    Raises:
        ConfigError: kornia rejects the values of a transform.
    """

    def __init__(
        self,
        *,
        color_jitter: Any = None,
        grayscale: Any = None,
        blur: Any = None,
        erasing: Mapping[str, Any] | None = None,
    ) -> None:
        given = {"color_jitter": color_jitter, "grayscale": grayscale, "blur": blur}
        given |= {f"erasing.{name}": one for name, one in (erasing or {}).items()}
        built = [build_transform(f"teacher.strong.{name}", one) for name, one in given.items() if one is not None]
        self.transforms = torch.nn.Sequential(*built) if built else None

    def __call__(self, images: Sequence[ImageTensor], *, seed: int, step: int, place: int = 0) -> list[ImageTensor]:
        """The strong view of consecutive images of a step's global batch, of which `place` is the first."""
        if self.transforms is None:
            return list(images)
        return [self._view(image, (seed, _STRONG, step, place + i)) for i, image in enumerate(images)]

    def _view(self, image: ImageTensor, key: Sequence[int]) -> ImageTensor:
        """kornia draws from torch's global CPU generator: it is seeded by `key` for the call, then restored."""
        assert self.transforms is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(*key).initial_seed())
            pixels: Tensor = self.transforms(image[None].float() / 255)[0]
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)
