"""Generated features, images and masks, and ViTs of random weights, for the benchmarks of MaskCut."""

from pathlib import Path

import numpy as np
import skimage.data
import timm
import torch
from PIL import Image

from cutler_pl.maskcut.features import TransformerFeatures

VITS = {  # timm's name, patch size, dimension, multiply-adds of 480×480 pixels in 10¹²
    "vitb8": ("vit_base_patch8_224.dino", 8, 768, 0.51),
    "vits8": ("vit_small_patch8_224.dino", 8, 384, 0.18),
    "vits16": ("vit_small_patch16_224.dino", 16, 384, 0.023),
}
DIM = 96
SIZE = 480


def image_features(side: int, seed: int, dim: int = DIM) -> torch.Tensor:
    """Features of one image with a few ellipses."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    label = (x * 2).astype(int)  # two halves of background
    for blob in range(int(rng.integers(1, 5))):
        cy, cx = rng.uniform(0.15, 0.85, 2)
        ry, rx = rng.uniform(0.08, 0.25, 2)
        label[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = 2 + blob
    directions = rng.normal(size=(label.max() + 1, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.uniform(0.8, 2.0) * rng.normal(size=(side, side, dim)) / dim**0.5
    return torch.from_numpy((directions[label] + noise).transpose(2, 0, 1)[None]).float()


def bundled_images(count: int) -> torch.Tensor:
    """Real images at the fixed size."""
    bundled = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    chosen = [Image.fromarray(bundled[i % len(bundled)]).resize((SIZE, SIZE)) for i in range(count)]
    return torch.from_numpy(np.stack([np.array(image) for image in chosen])).permute(0, 3, 1, 2).contiguous()


def write_images(folder: Path, count: int, *, size_wh: tuple[int, int]) -> list[str]:
    """JPEG files of the bundled images, each shifted differently; their names."""
    folder.mkdir()
    small = [np.array(Image.fromarray(p.permute(1, 2, 0).numpy()).resize(size_wh)) for p in bundled_images(4)]
    names = [f"{i:05d}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        Image.fromarray(np.roll(small[i % 4], 37 * i, axis=0)).save(folder / name, quality=90)
    return names


def discs(rounds: int = 3) -> torch.Tensor:
    """Masks of one image, as coarse as the patch grid."""
    y, x = np.mgrid[:60, :60]
    masks = [np.hypot(y - 20 - 8 * r, x - 25 - 4 * r) < 10 + 4 * r for r in range(rounds)]
    return torch.from_numpy(np.stack(masks).repeat(8, 1).repeat(8, 2))[None]


def random_vit(name: str) -> TransformerFeatures:
    """DINO's keys by a ViT of random weights."""
    model = timm.create_model(VITS[name][0], pretrained=False, num_classes=0, dynamic_img_size=True)
    vit = TransformerFeatures(model, name=f"dino_{name}", layer=-1, feature="key", pos_embed="original")
    return vit.requires_grad_(False).eval()
