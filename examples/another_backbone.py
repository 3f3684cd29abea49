"""MaskCut on the features of any vision transformer of timm: masks of a folder's images.

python examples/another_backbone.py <name of timm's> <images> <output folder>
"""

import sys
from pathlib import Path

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl import MaskCut
from cutler_pl.maskcut import MaskCutParams

GRID = 30  # patches on each side; 60, as for DINO's ViT-B/8, finds smaller objects and costs much more


class TimmTokens(nn.Module):
    """The output tokens of a vision transformer, one per patch."""

    def __init__(self, name: str, weights: str | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.name = name
        overlay = {"file": weights} if weights else None  # a file instead of timm's hub
        self.model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, dynamic_img_size=True
        )
        self.model = self.model.requires_grad_(False).eval().to(device)
        self.patch_size: int = self.model.patch_embed.patch_size[0]
        self.dim: int = self.model.num_features
        config = self.model.pretrained_cfg
        self.mean, self.std = (torch.tensor(config[key], device=device).view(3, 1, 1) for key in ("mean", "std"))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Features of RGB images in 0..1 whose sides are multiples of the patch size."""
        tokens = self.model.forward_features((images - self.mean) / self.std)[:, self.model.num_prefix_tokens :]
        h, w = (side // self.patch_size for side in images.shape[-2:])
        return tokens.transpose(1, 2).reshape(len(images), self.dim, h, w)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {__doc__.splitlines()[2]}")
    name, images, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    output.mkdir(parents=True, exist_ok=True)
    extractor = TimmTokens(name)
    maskcut = MaskCut.from_features(
        extractor,
        name=name,
        params=MaskCutParams(tau=0.2),
        fixed_size=GRID * extractor.patch_size,
        device="cpu",
    )
    for result in maskcut.predict(images):
        result.save(output / f"{result.path.stem}.jpg")
        print(f"{result.path.name}: {len(result)} objects")
