"""Heads that see objects: their selection by hand, and the affinity that their vectors stand for."""

from math import exp

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut
from cutler_pl.maskcut.features import RotaryTransformerFeatures, TransformerFeatures
from cutler_pl.maskcut.heads import ObjectHeads, head_maps, joined, select_heads, unit_heads

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "depth": 5, "num_classes": 0}


def small_heads(name: str = "vit_small_patch8_224", *, layer: int = -1, **options: object) -> ObjectHeads:
    torch.manual_seed(3)
    model = timm.create_model(name, dynamic_img_size=True, **SMALL | options).eval()
    kind = RotaryTransformerFeatures if "dinov3" in name else TransformerFeatures
    return ObjectHeads(kind(model, name="small", layer=layer, feature="token", pos_embed="timm").eval())


def pixels(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def test_map_by_hand() -> None:
    """Queries of two patches that agree and one at a right angle; keys and values the same: a softmax per row."""
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    maps = head_maps(vectors.expand(1, 3, 3, 2))
    a = exp(2**-0.5)
    alike, apart = a / (2 * a + 1), 1 / (2 * a + 1)
    expected = [(2 * alike + 1 / (2 + a)) / 3] * 2 + [(2 * apart + a / (2 + a)) / 3]
    torch.testing.assert_close(maps[0], torch.tensor(expected))


@pytest.mark.parametrize(
    ("last", "chosen"),
    [
        ([5, 7, 5, 2], [5, 12, 14]),
        ([7, 5, 7, 5], [5, 13, 15]),  # a tie: that of the first head
        ([9, 9, 9, 9], [9, 12, 13, 14, 15]),
    ],
)
def test_cluster_with_most_last_heads(last: list[int], chosen: list[int]) -> None:
    """Of twelve kinds of maps, each a cluster: first one head of each kind, then the last block."""
    maps = np.eye(12)[[*range(12), *last]]
    assert select_heads(maps, last=4).tolist() == chosen


def test_near_maps_are_one_cluster() -> None:
    kinds = np.repeat(np.arange(12), 6)
    maps = 5 * np.eye(12)[kinds] + np.random.default_rng(0).normal(0, 0.1, (72, 12))
    assert select_heads(maps, last=6).tolist() == [66, 67, 68, 69, 70, 71]


def test_products_are_mean_cosines() -> None:
    heads = F.normalize(torch.randn(4, 3, 5, 8, generator=torch.Generator().manual_seed(0)), dim=3)
    expected = torch.stack([part @ part.T for head in heads for part in head]).mean(0)
    vectors = joined(heads)
    torch.testing.assert_close(vectors.T @ vectors, expected)


def test_affinity_is_mean_over_chosen_heads() -> None:
    """By definition, from the projections of the whole model."""
    extractor, images, seen = small_heads(), pixels(1), []
    for block in extractor.tokens.model.blocks:
        block.attn.qkv.register_forward_hook(lambda _, __, output: seen.append(output))
    features = extractor(images)[0].flatten(1)
    assert len(seen) == 5
    maps, cosines = [], []
    for output in seen:
        for head in range(3):
            parts = [output[0, 1:, 24 * third + 8 * head : 24 * third + 8 * (head + 1)] for third in range(3)]
            of_head = [F.cosine_similarity(part[:, None], part[None], dim=2) for part in parts]
            cosines.append(torch.stack(of_head).mean(0))
            maps.append(torch.stack([(one * 8**-0.5).softmax(1) for one in of_head]).mean((0, 1)))
    chosen = select_heads(torch.stack(maps).double().numpy(), last=3)
    assert len(features) == 3 * 8 * len(chosen)
    expected = torch.stack([cosines[head] for head in chosen]).mean(0)
    torch.testing.assert_close(features.T @ features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
def test_registers_are_left_out(name: str) -> None:
    options = {"patch_size": 8} if "dinov2" in name else {"patch_size": 16, "num_heads": 3}
    images = F.interpolate(pixels(2), (48, 32) if "dinov2" in name else (96, 64))
    features = small_heads(name, **options)(images)
    assert features.shape[2:] == (6, 4)
    torch.testing.assert_close(features.square().sum(1), torch.ones(2, 6, 4))


def test_image_does_not_depend_on_batch() -> None:
    """In any order; zeros fill the vectors of images with fewer heads."""
    extractor, images = small_heads(), pixels(4)
    together = extractor(images)
    backwards = extractor(images.flip(0)).flip(0)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-6)
    for image, features in zip(images, together, strict=True):
        (alone,) = extractor(image[None])
        torch.testing.assert_close(features[: len(alone)], alone, rtol=0, atol=1e-6)
        assert not features[len(alone) :].any()


def test_layer_is_the_last_block_that_counts() -> None:
    extractor = small_heads(layer=2)
    with torch.no_grad():
        for block in extractor.tokens.model.blocks[3:]:
            block.attn.qkv.weight.fill_(torch.nan)
    assert extractor(pixels()).isfinite().all()


def test_masks_from_chosen_heads() -> None:
    cut = maskcut(small_heads()(pixels()), MaskCutParams(tau=0.3, num_masks=2))
    assert cut.masks.shape == (3, 2, 4, 6)


def test_heads_of_an_option(tmp_path) -> None:
    """By name, with a cache; the layer's own feature does not matter."""
    weights = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    arguments = {"weights": weights, "heads": "object", "cache": tmp_path}
    extractor = build_feature_extractor("timm/vit_tiny_patch16_224.augreg_in21k", feature="key", **arguments)
    images = pixels(2)
    features = extractor(images)
    assert extractor.dim is None
    again = build_feature_extractor("timm/vit_tiny_patch16_224.augreg_in21k", feature="token", **arguments)
    assert torch.equal(again(images), features)
    assert again.num_computed == 0
    with pytest.raises(ConfigError, match=r"made with heads=object where None is asked for now"):
        build_feature_extractor("timm/vit_tiny_patch16_224.augreg_in21k", **arguments | {"heads": None})


def test_refuse_heads_of_descriptors() -> None:
    with pytest.raises(ConfigError, match="heads=object: patch_descriptors has no attention heads; leave it out"):
        build_feature_extractor("patch_descriptors", heads="object")


def test_refuse_blocks_without_joint_projection() -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch8_224", **SMALL)
    model.blocks[1].attn.qkv = torch.nn.Identity()
    tokens = TransformerFeatures(model, name="small", layer=-1, feature="token", pos_embed="timm")
    with pytest.raises(ConfigError, match="small has no joint projection of queries, keys and values"):
        ObjectHeads(tokens)


def test_unit_heads_follow_timms_order() -> None:
    projections = torch.arange(1.0, 13.0).view(1, 12)  # two heads of two numbers: query, key, value
    found = unit_heads(projections, 2)
    torch.testing.assert_close(found[1, 2, 0], F.normalize(torch.tensor([11.0, 12.0]), dim=0))
    torch.testing.assert_close(found[0, 1, 0], F.normalize(torch.tensor([5.0, 6.0]), dim=0))


@pytest.mark.gpu
def test_heads_on_gpu_equal_cpu() -> None:
    extractor, images = small_heads(), pixels()
    on_cpu = extractor(images)
    on_gpu = extractor.cuda()(images.cuda()).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=1e-4)
