"""Patch features of frozen self-supervised vision transformers.

MaskCut describes each patch by its key in the last attention block of DINO (CutLER, Section 3.2, after LOST and
TokenCut). Of that block only the keys are computed: its attention and what follows are never needed. DINOv2 and
DINOv3 are described by their output tokens, as in the object discovery experiments of the DINOv3 paper.
Position embeddings are resampled as the original code does, with a scale of (grid + 0.1) / trained grid: it moves
every sampling point a little, which `pos_embed="timm"` does not.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args, runtime_checkable

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.descriptors import PatchDescriptors
from cutler_pl.maskcut.feature_cache import CachedFeatures
from cutler_pl.maskcut.heads import ObjectHeads
from cutler_pl.maskcut.patch_grid import patch_grid
from cutler_pl.maskcut.released import Backbone, Feature, find_backbone
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Integer
from cutler_pl.weights.backbones import WeightSource, find_weights, load_exactly

log = get_logger(__name__)

PositionEmbedding = Literal["original", "timm"]
Heads = Literal["object"]

_ATTENTION_PARTS: Mapping[Feature, tuple[int, ...]] = {"query": (0,), "key": (1,), "value": (2,), "kqv": (1, 0, 2)}
"""Thirds of the joint projection, in timm's order of query, key, value."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@runtime_checkable
class FeatureExtractor(Protocol):
    """Anything that turns images into one feature vector per patch."""

    patch_size: int

    @property
    def dim(self) -> int | None:
        """Length of a feature vector; None where it differs from image to image."""
        ...

    def __call__(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Features of RGB images in [0, 1] whose sides are multiples of the patch size."""
        ...


def build_feature_extractor(
    name: str,
    *,
    weights: WeightSource = None,
    device: str | torch.device = "cpu",
    layer: Annotated[int, Integer(-64, 63)] = -1,
    feature: Feature | None = None,
    pos_embed: PositionEmbedding = "original",
    patch_size: Annotated[int, Integer(1, 256)] | None = None,
    heads: Heads | None = None,
    cache: str | Path | None = None,
) -> FeatureExtractor:
    """Build a frozen feature extractor by name.

    Args:
        name: `patch_descriptors`, which needs no weights, one of `BACKBONES`, or `timm/<model>`.
        weights: None for timm's published weights (downloaded once, then cached); a file in the original DINO
            format or in safetensors; an https address; or a state dict, for tests. Never random.
        device: Where the extractor lives; images must be there too.
        layer: Block whose keys, queries, values or tokens are taken; negative counts from the last.
        feature: `key`, `query`, `value`, `kqv` or `token` (after the block; after the final norm for the last one);
            None for the backbone's usual one.
        pos_embed: `original` resamples position embeddings as the authors do, `timm` as timm does.
        patch_size: Side of the cells of `patch_descriptors`, 8 unless given; a vision transformer has its own.
        heads: `object` takes the queries, keys and values of the heads of all blocks up to `layer` that see objects, in
            place of `feature` (see `heads`); None for the whole `layer`.
        cache: A folder for the features of each image, in half precision; see `feature_cache`.

    Returns:
        A module with `patch_size` and `dim`, called on float RGB (batch, 3, H, W) in [0, 1] with H and W multiples
        of the patch size; it returns float (batch, dim, H / patch, W / patch).

    Raises:
        CheckpointError: The weights cannot be had, cannot be read, or do not fit.
        ConfigError: The name is unknown, an option does not go with it, or the cache is of other weights or settings.
    """
    if name == "patch_descriptors":
        if weights is not None:
            raise ConfigError("maskcut.features.weights is set, but patch_descriptors has no weights; leave it out")
        if heads is not None:
            raise ConfigError(f"maskcut.features.heads={heads}: patch_descriptors has no attention heads; leave it out")
        descriptors = PatchDescriptors(patch_size or 8).to(device)
        return _cached(descriptors, cache, {"name": f"{name}_{descriptors.patch_size}"})
    if patch_size is not None:
        raise ConfigError(f"maskcut.features.patch_size={patch_size}: {name} has patches of its own; leave it out")
    backbone = find_backbone(name)
    feature = feature or backbone.feature
    if feature not in get_args(Feature):
        raise ConfigError(f"maskcut.features.feature={feature}: choose one of {', '.join(get_args(Feature))}")
    if pos_embed not in get_args(PositionEmbedding):
        choices = ", ".join(get_args(PositionEmbedding))
        raise ConfigError(f"maskcut.features.pos_embed={pos_embed}: choose one of {choices}")
    if heads is not None:
        if heads not in get_args(Heads):
            raise ConfigError(f"maskcut.features.heads={heads}: choose one of {', '.join(get_args(Heads))}, or null")
        feature = "token"  # the whole transformer
    build: Callable[..., TransformerFeatures] = RotaryTransformerFeatures if backbone.rotary else TransformerFeatures
    if backbone.licence is not None:
        log.warning("the weights of %s are under %s, which sets conditions: read it before use", name, backbone.licence)
    state = find_weights(name, weights, hub_id=f"timm/{backbone.timm_name}")
    with torch.device("cpu" if backbone.rotary else "meta"):  # rotary models compute buffers that no checkpoint holds
        model = _create(name, backbone)
    load_exactly(model, _renamed(state, backbone), name=name, source=weights, ignored=backbone.ignored)
    features = build(model, name=name, layer=layer, feature=feature, pos_embed=pos_embed)
    settings = {
        "name": name, "layer": features.layer, "feature": feature, "pos_embed": pos_embed, "heads": heads,
    }  # fmt: skip
    extractor = features if heads is None else ObjectHeads(features)
    return _cached(extractor.requires_grad_(False).eval().to(device), cache, settings)


def _create(name: str, backbone: Backbone) -> nn.Module:
    """The model without weights.

    Raises:
        ConfigError: It is no vision transformer.
    """
    expected = Eva if backbone.rotary else VisionTransformer
    try:
        model = timm.create_model(backbone.timm_name, pretrained=False, num_classes=0, dynamic_img_size=True)
    except TypeError as error:  # only vision transformers know dynamic_img_size
        raise ConfigError(f"maskcut.features.name={name}: not a vision transformer with one grid of patches") from error
    if not isinstance(model, expected) or (model.pos_embed is None and not backbone.rotary):
        raise ConfigError(f"maskcut.features.name={name}: not a vision transformer with one grid of patches")
    return model


class TransformerFeatures(nn.Module):
    """Queries, keys, values or tokens of one block of a timm vision transformer with learned positions.

    Attributes:
        patch_size: Side of a patch in pixels.
        dim: Length of a feature vector.
    """

    model: Any  # a timm model, whose submodules nn.Module does not type
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, *, name: str, layer: int, feature: Feature, pos_embed: PositionEmbedding):
        super().__init__()
        self.model = model
        depth = len(self.model.blocks)
        if not -depth <= layer < depth:
            blocks = f"0 to {depth - 1}, or -{depth} to -1"
            raise ConfigError(f"maskcut.features.layer={layer}: {name} has the blocks {blocks}")
        self.name = name
        self._prefix: int = self.model.num_prefix_tokens
        self.layer = layer % depth
        self.feature = feature
        self.pos_embed = pos_embed
        self.patch_size: int = self.model.patch_embed.patch_size[0]
        self.dim: int = self.model.embed_dim * len(_ATTENTION_PARTS.get(feature, (0,)))
        statistics = getattr(model, "pretrained_cfg", {}) or {}
        mean, std = statistics.get("mean", _IMAGENET_MEAN), statistics.get("std", _IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Features of RGB images in [0, 1] whose sides are multiples of the patch size.

        Raises:
            ConfigError: A side is no multiple of the patch size.
            InputError: The images are not float (batch, 3, height, width).
        """
        grid_hw = patch_grid(images, self.patch_size, name=self.name)
        tokens = self._describe((images - self.mean) / self.std, grid_hw)
        return tokens.transpose(1, 2).reshape(len(images), -1, *grid_hw)

    def _describe(
        self, images: Float[Tensor, "batch 3 height width"], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "batch patches dim"]:
        patches = self.model.patch_embed(images).flatten(1, 2)
        positions = self._positions(grid_hw)
        own = positions.shape[1] - patches.shape[1]
        front = [part for part in (self.model.cls_token, self.model.reg_token) if part is not None]
        prefix = torch.cat([part.expand(len(patches), -1, -1) for part in front], 1) if front else patches[:, :0]
        if own:  # the first tokens have positions of their own, unless the model has none for them
            prefix = prefix + F.pad(positions[:, :own], (0, 0, 0, prefix.shape[1] - own))
        tokens = torch.cat([prefix, patches + positions[:, own:]], dim=1)
        tokens = self.model.norm_pre(tokens)
        for block in self.model.blocks[: self.layer]:
            tokens = block(tokens)
        block = self.model.blocks[self.layer]
        if self.feature != "token":
            return _attention_part(block.attn.qkv, block.norm1(tokens), self.feature)[:, self._prefix :]
        last = self.layer == len(self.model.blocks) - 1
        described: Tensor = self.model.norm(block(tokens)) if last else block(tokens)
        return described[:, self._prefix :]

    def _positions(self, grid_hw: tuple[int, int]) -> Float[Tensor, "1 tokens dim"]:
        trained: Tensor = self.model.pos_embed
        own = 0 if self.model.no_embed_class else self._prefix
        side = round((trained.shape[1] - own) ** 0.5)
        if grid_hw == (side, side):
            return trained
        if self.pos_embed == "timm":
            resampled: Tensor = resample_abs_pos_embed(trained, new_size=list(grid_hw), num_prefix_tokens=own)
            return resampled
        square = trained[:, own:].transpose(1, 2).reshape(1, -1, side, side)
        scale = tuple((n + 0.1) / side for n in grid_hw)
        resampled = F.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat([trained[:, :own], resampled.flatten(2).transpose(1, 2)], dim=1)


class RotaryTransformerFeatures(TransformerFeatures):
    """Tokens of one block of a timm vision transformer with rotary positions."""

    def __init__(self, model: nn.Module, *, name: str, layer: int, feature: Feature, pos_embed: PositionEmbedding):
        super().__init__(model, name=name, layer=layer, feature=feature, pos_embed=pos_embed)
        if feature != "token":
            raise ConfigError(f"maskcut.features.feature={feature}: {name} offers its tokens only, so give token")

    def _describe(
        self, images: Float[Tensor, "batch 3 height width"], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "batch patches dim"]:
        last = self.layer == len(self.model.blocks) - 1
        (grid,) = self.model.forward_intermediates(
            images, indices=[self.layer], norm=last, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        tokens: Tensor = grid.flatten(2).transpose(1, 2)
        return tokens


def _attention_part(
    qkv: nn.Linear, tokens: Float[Tensor, "batch tokens dim"], part: Feature
) -> Float[Tensor, "batch tokens _"]:
    """Queries, keys or values alone, all heads side by side: a third of the joint projection; or all three."""
    dim = qkv.out_features // 3
    rows = [slice(third * dim, (third + 1) * dim) for third in _ATTENTION_PARTS[part]]
    biases = [None if qkv.bias is None else qkv.bias[row] for row in rows]
    parts = [F.linear(tokens, qkv.weight[row], bias) for row, bias in zip(rows, biases, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _renamed(state: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """Keys in timm's words; the biases of DINOv3's projections are dropped when they are all zero, as released."""
    result = {}
    for key, value in state.items():
        for old, new in backbone.renamed:
            key = key.replace(old, new)
        if not (backbone.rotary and key.endswith("qkv.bias") and not value.any()):
            result[key] = value.float()
    return result


def _cached(
    extractor: PatchDescriptors | TransformerFeatures | ObjectHeads,
    cache: str | Path | None,
    settings: Mapping[str, Any],
) -> FeatureExtractor:
    return extractor if cache is None else CachedFeatures(extractor, cache, settings=settings)
