"""Training-free patch descriptors: color, texture and position of cells of some pixels, for runs without any weights.

Low-level cues group regions; they do not find objects (sky and grass win often). They run and test the whole
program offline and are no substitute for DINO. On 110 COCO images their first mask reaches a CorLoc of 31.8 %,
where a centered box reaches 33.6 %; DINO's published figure on VOC 2007 is near 69 %.
"""

import kornia
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.maskcut.patch_grid import patch_grid

_ORIENTATIONS = 4
_WEIGHTS = {"mean": 1.2, "deviation": 0.5, "surround": 1.0, "gradient": 0.5, "position": 1.2}
_SMALLEST_DEVIATION = 0.02  # grey pixels have a and b up to 0.005; channels of color images deviate by 0.1 and more


class PatchDescriptors(nn.Module):
    """15 numbers per cell: Lab mean, deviation and surround, gradients of L in four orientations, y and x.

    Attributes:
        patch_size: Side of a cell in pixels.
        dim: Numbers per cell.
    """

    dim = 15
    name = "patch_descriptors"

    def __init__(self, patch_size: int = 8) -> None:
        super().__init__()
        self.patch_size = patch_size

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Descriptors of RGB images in [0, 1]; every channel has mean 0 and a fixed deviation over each image.

        Raises:
            ConfigError: A side is no multiple of the cells'.
            InputError: The images are not float (batch, 3, height, width).
        """
        patch_grid(images, self.patch_size, name=self.name)
        lab = kornia.color.rgb_to_lab(images)
        mean = self._cells(lab)
        spread = lab - mean.repeat_interleave(self.patch_size, 2).repeat_interleave(self.patch_size, 3)
        channels = {
            "mean": mean,
            "deviation": (self._cells(spread.square()) + 1e-6).sqrt(),
            "surround": _blur(mean, sigma=1.0),
            "gradient": torch.log1p(_blur(self._cells(_oriented_gradients(lab[:, :1])), sigma=0.5)),
            "position": _positions(mean),
        }
        return torch.cat([_standardised(value) * _WEIGHTS[name] for name, value in channels.items()], dim=1)

    def _cells(self, pixels: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels h w"]:
        return F.avg_pool2d(pixels, self.patch_size)


def _oriented_gradients(lightness: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 4 height width"]:
    """Gradient magnitude distributed over four orientations: q takes max(0, cos 2(θ - qπ/4)) of it."""
    along_x, along_y = kornia.filters.spatial_gradient(lightness, mode="sobel").unbind(2)
    magnitude, angle = torch.hypot(along_x, along_y), torch.atan2(along_y, along_x)
    turns = torch.arange(_ORIENTATIONS, device=angle.device, dtype=angle.dtype).view(1, -1, 1, 1) * (torch.pi / 4)
    return torch.cos(2 * (angle - turns)).clamp(min=0) * magnitude


def _blur(cells: Float[Tensor, "batch channels h w"], *, sigma: float) -> Float[Tensor, "batch channels h w"]:
    """Gaussian over cells, cut off at three sigma; the border is repeated, so that grids of any size work."""
    size = 2 * int(3 * sigma + 0.5) + 1
    return kornia.filters.gaussian_blur2d(cells, (size, size), (sigma, sigma), border_type="replicate")


def _positions(cells: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch 2 h w"]:
    """Row and column of each cell, up to scale."""
    batch, _, h, w = cells.shape
    y, x = (torch.arange(n, device=cells.device, dtype=cells.dtype) for n in (h, w))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(batch, 2, h, w)


def _standardised(cells: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
    """Mean 0 and deviation 1 over each image; a channel that is constant up to rounding becomes 0."""
    centred = cells - cells.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / deviation.clamp(min=_SMALLEST_DEVIATION)
