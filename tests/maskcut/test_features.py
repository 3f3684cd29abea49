import json
from pathlib import Path

import golden_set
import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from timm.layers.pos_embed import resample_abs_pos_embed

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.features import RotaryTransformerFeatures, TransformerFeatures
from cutler_pl.maskcut.ncut import SOLVERS
from cutler_pl.maskcut.released import BACKBONES, Feature

OPTIONS = Path(__file__).resolve().parents[2] / "conf" / "maskcut"


CHECKS = json.loads((golden_set.GOLDEN / "maskcut/vit/vits8_k_checks.json").read_text())
IMAGES = sorted(name for name, facts in CHECKS.items() if "first8" in facts)


@pytest.fixture(scope="module")
def vit_golden(golden_dir: Path) -> Path:
    return golden_dir / "maskcut" / "vit"


@pytest.fixture(scope="module")
def recorded_keys(vit_golden: Path) -> dict[str, dict[str, list[int]]]:
    return {
        name: facts["keys"]
        for name, facts in json.loads((vit_golden / "dino_state_dict_keys.json").read_text()).items()
    }


@pytest.fixture(scope="module")
def recorded_extractor(recorded_keys):
    weights = golden_set.vit_weights(recorded_keys["vit_small_8"])
    return build_feature_extractor("dino_vits8", weights={key: torch.from_numpy(w) for key, w in weights.items()})


@pytest.mark.golden
@pytest.mark.parametrize("image", [*(pytest.param(name, marks=pytest.mark.slow) for name in IMAGES[:-1]), IMAGES[-1]])
def test_keys_are_those_of_the_original(image: str, vit_golden: Path, recorded_extractor) -> None:
    pixels = torch.from_numpy(golden_set.case_image(vit_golden, f"{image}_480.png"))
    features = recorded_extractor(pixels.permute(2, 0, 1)[None].float() / 255)
    assert features.shape == (1, 384, 60, 60)
    keys = features[0].flatten(1)
    with np.load(vit_golden / "vits8_k_features.npz") as arrays:  # recorded in half precision
        golden_set.assert_entries(keys.numpy(), arrays, f"{image}_k", rtol=2**-11, atol=1e-5)
    facts = CHECKS[image]
    assert keys.double().abs().sum().item() == pytest.approx(facts["abs_sum"], rel=1e-6)
    assert keys.double().square().sum().item() == pytest.approx(facts["sq_sum"], rel=1e-6)
    np.testing.assert_allclose(keys.T.flatten()[:8], facts["first8"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(keys.T.flatten()[-8:], facts["last8"], rtol=0, atol=1e-5)


@pytest.mark.golden
def test_position_embeddings_are_resampled_as_the_original_does(vit_golden: Path, recorded_extractor) -> None:
    positions = recorded_extractor._positions((60, 60))
    with np.load(vit_golden / "vits8_k_features.npz") as arrays:
        golden_set.assert_entries(positions[0, 1:].numpy(), arrays, "pos_embed_480", rtol=2**-11, atol=1e-7)
    assert positions.double().sum().item() == pytest.approx(CHECKS["pos_embed_480"]["sum"], abs=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["dino_vits8", "dino_vitb8", "dino_vits16", "dino_vitb16"])
def test_original_files_fit_without_renaming(name: str, recorded_keys) -> None:
    size = {"vits": "small", "vitb": "base"}[name[5:9]]
    shapes = recorded_keys[f"vit_{size}_{name[9:]}"]
    weights = {key: torch.zeros(shape) for key, shape in shapes.items()}
    extractor = build_feature_extractor(name, weights=weights)
    assert (extractor.patch_size, extractor.dim) == (int(name[9:]), 384 if size == "small" else 768)
    weights["head.weight"] = weights.pop("norm.bias")
    with pytest.raises(CheckpointError, match=r"1 missing: norm\.bias; 1 not of this model: head\.weight"):
        build_feature_extractor(name, weights=weights)


def small_vit() -> torch.nn.Module:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "depth": 3, "num_classes": 0}
    return timm.create_model("vit_small_patch8_224", dynamic_img_size=True, **options).eval()


def extractor_of(model: torch.nn.Module, *, layer: int = -1, feature: Feature = "key", pos_embed: str = "original"):
    return TransformerFeatures(model, name="small", layer=layer, feature=feature, pos_embed=pos_embed).eval()


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize(("feature", "third"), [("query", 0), ("key", 1), ("value", 2)])
def test_attention_parts_are_those_of_the_whole_model(layer: int, feature: Feature, third: int) -> None:
    model, images, seen = small_vit(), torch.rand(2, 3, 32, 32), []
    model.blocks[layer].attn.qkv.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    model(normalised(images))
    expected = seen[0][:, 1:, 24 * third : 24 * (third + 1)]
    found = extractor_of(model, layer=layer, feature=feature)(images)
    torch.testing.assert_close(found, expected.transpose(1, 2).reshape(2, 24, 4, 4), rtol=0, atol=1e-5)


def test_kqv_joins_key_query_value() -> None:
    """In the order of the original's code."""
    model, images = small_vit(), torch.rand(1, 3, 32, 32)
    parts = [extractor_of(model, feature=part)(images) for part in ("key", "query", "value")]
    joined = extractor_of(model, feature="kqv")
    assert joined.dim == 72
    torch.testing.assert_close(joined(images), torch.cat(parts, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pos_embed", ["timm", "original"])
@pytest.mark.parametrize("side", [32, 56])
def test_registers_are_no_patches(side: int, pos_embed: str) -> None:
    """Of a model whose register and class tokens have no positions, as DINOv2's."""
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "depth": 2, "num_classes": 0}
    model = timm.create_model("vit_small_patch14_reg4_dinov2", dynamic_img_size=True, **options).eval()
    images = torch.rand(1, 3, side, side)
    found = extractor_of(model, feature="token", pos_embed=pos_embed)(images)
    assert found.shape == (1, 24, side // 8, side // 8)
    if pos_embed == "timm" or side == 32:
        with torch.no_grad():
            expected = model.forward_features(normalised(images))[:, 5:]
        torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-5)


def test_any_vision_transformer_of_timm() -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    weights = timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict()  # with a head, as published
    extractor = build_feature_extractor(f"timm/{name}", weights=weights)
    assert extractor(torch.rand(1, 3, 32, 48)).shape == (1, 192, 2, 3)
    assert extractor.mean.flatten().tolist() == [0.5, 0.5, 0.5]  # of its own training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/vit_tiny_patch16_225", r"timm has no such model; did you mean timm/vit_tiny_patch16_224\?"),
        ("timm/vit_tiny_patch16_224.dino", r"timm has no such weights; its weights for the model: vit_tiny.*augreg"),
        ("timm/resnet50.a1_in1k", r"resnet50.a1_in1k: not a vision transformer with one grid of patches"),
    ],
)
def test_refuse_what_is_no_vision_transformer(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_feature_extractor(name, weights={"x": torch.zeros(1)})


def test_licence_of_dinov3_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "cutler_pl"), pytest.raises(CheckpointError):
        build_feature_extractor("dinov3_vits16", weights={"x": torch.zeros(1)})
    assert "the weights of dinov3_vits16 are under the DINOv3 License" in caplog.text


def test_last_tokens_follow_final_norm() -> None:
    model, images = small_vit(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.forward_features(normalised(images))[:, 1:]
    found = extractor_of(model, feature="token")(images)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-5)


def test_timm_positions_equal_timm() -> None:
    """They differ from the original's."""
    model, images = small_vit(), torch.rand(1, 3, 56, 40)
    with torch.no_grad():
        expected = model.forward_features(normalised(images))[:, 1:].transpose(1, 2).reshape(1, 24, 7, 5)
    like_timm = extractor_of(model, feature="token", pos_embed="timm")(images)
    torch.testing.assert_close(like_timm, expected, rtol=0, atol=1e-5)
    original = extractor_of(model, feature="token")(images)
    assert (original - expected).abs().max() > 1e-4


def test_positions_resample_per_direction() -> None:
    model = small_vit()
    with torch.no_grad():  # one channel that depends on the row alone, one on the column alone
        y, x = torch.meshgrid(torch.randn(4), torch.randn(4), indexing="ij")
        model.pos_embed[0, 1:, 0], model.pos_embed[0, 1:, 1] = y.flatten(), x.flatten()
    extractor = extractor_of(model)
    oblong = extractor._positions((12, 7))[0, 1:].reshape(12, 7, -1)
    tall = extractor._positions((12, 12))[0, 1:].reshape(12, 12, -1)
    wide = extractor._positions((7, 7))[0, 1:].reshape(7, 7, -1)
    torch.testing.assert_close(oblong[:, 3, 0], tall[:, 3, 0])
    torch.testing.assert_close(oblong[6, :, 1], wide[3, :, 1])


def test_positions_of_the_trained_grid_are_untouched() -> None:
    model = small_vit()
    assert torch.equal(extractor_of(model)._positions((4, 4)), model.pos_embed)
    assert not torch.equal(
        extractor_of(model)._positions((4, 8))[:, 1:], resample_abs_pos_embed(model.pos_embed, [4, 8])[:, 1:]
    )


def small_rotary() -> torch.nn.Module:
    options = {"embed_dim": 32, "num_heads": 2, "depth": 3, "num_classes": 0}
    return timm.create_model("vit_small_patch16_dinov3", dynamic_img_size=True, **options).eval()


@pytest.mark.parametrize("layer", [1, -1])
def test_rotary_tokens_equal_whole_model(layer: int) -> None:
    model, images, seen = small_rotary(), torch.rand(2, 3, 32, 48), []
    model.blocks[layer].register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    with torch.no_grad():
        final = model.forward_features(normalised(images))
    expected = (final if layer == -1 else seen[0])[:, model.num_prefix_tokens :]
    rotary = RotaryTransformerFeatures(model, name="small", layer=layer, feature="token", pos_embed="original").eval()
    found = rotary(images)
    assert found.shape == (2, 32, 2, 3)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-5)


def test_a_rotary_model_offers_tokens_only() -> None:
    with pytest.raises(ConfigError, match="small offers its tokens only, so give token"):
        RotaryTransformerFeatures(small_rotary(), name="small", layer=-1, feature="key", pos_embed="original")


@pytest.mark.parametrize(
    ("name", "to_original"),
    [
        ("dinov2_vits14", {}),
        ("dinov3_vits16", {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}),
    ],
)
def test_load_original_dinov2_and_dinov3_files(name: str, to_original: dict[str, str]) -> None:
    with torch.device("meta"):
        shapes = {
            key: value.shape
            for key, value in timm.create_model(BACKBONES[name].timm_name, num_classes=0).state_dict().items()
        }
    state = {key: 0.02 * torch.randn(shape) for key, shape in shapes.items()}
    original = {"mask_token": torch.zeros(1, 384)}
    for key, value in state.items():
        for new, old in to_original.items():
            key = key.replace(new, old)
        original[key] = value
    if name.startswith("dinov3"):
        original["rope_embed.periods"] = torch.ones(16)
        original["blocks.0.attn.qkv.bias"] = torch.zeros(1152)
        original["blocks.0.attn.qkv.bias_mask"] = torch.ones(1152)
    side = 2 * BACKBONES_PATCH[name]
    images = torch.rand(1, 3, side, side)
    found = build_feature_extractor(name, weights=original)(images)
    assert found.shape == (1, 384, 2, 2)
    torch.testing.assert_close(found, build_feature_extractor(name, weights=state)(images))


BACKBONES_PATCH = {"dinov2_vits14": 14, "dinov3_vits16": 16}


def test_every_backbone_has_a_hub_id() -> None:
    for backbone in BACKBONES.values():
        assert timm.get_pretrained_cfg(backbone.timm_name).hf_hub_id == f"timm/{backbone.timm_name}"


def test_options_cover_every_extractor() -> None:
    assert {path.stem for path in OPTIONS.glob("*.yaml")} == {"auto", "patch_descriptors", "timm", *BACKBONES}


@pytest.mark.parametrize("name", ["patch_descriptors", *BACKBONES])
def test_option_composes_to_working_values(name: str) -> None:
    with initialize_config_dir(str(OPTIONS.parent), version_base="1.3"):
        composed = compose("maskcut", [f"maskcut={name}", "input=images", "output=out"])
    option = OmegaConf.to_container(composed.maskcut)
    features = option.pop("features")
    assert features["_target_"] == "cutler_pl.maskcut.build_feature_extractor"
    assert features["name"] == name
    assert features["weights"] is None
    patch = 8 if name == "patch_descriptors" else int(name.removesuffix("_reg4")[-2:].strip("sb"))
    assert option.pop("fixed_size") % patch == 0
    assert option.pop("solver") in SOLVERS
    assert option.pop("backbones") is None
    params = MaskCutParams(**option)
    if name in BACKBONES:
        assert features["feature"] == BACKBONES[name].feature
    if name.startswith("dino_"):
        assert params == MaskCutParams()


def test_refuse_side_not_divisible_by_patch() -> None:
    with pytest.raises(ConfigError, match=r"40×36 pixels cannot be cut in patches of 8 by small; choose a fixed_size"):
        extractor_of(small_vit())(torch.rand(1, 3, 40, 36))


def test_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(ConfigError, match=r"name=resnet50: there is no such .* one of patch_descriptors, dino_vits8"):
        build_feature_extractor("resnet50")
    with pytest.raises(ConfigError, match="small has the blocks 0 to 2, or -3 to -1"):
        extractor_of(small_vit(), layer=3)


def test_an_extractor_is_frozen_and_keeps_no_graph(recorded_keys) -> None:
    weights = {key: torch.zeros(shape) for key, shape in recorded_keys["vit_small_16"].items()}
    extractor = build_feature_extractor("dino_vits16", weights=weights)
    assert not extractor.training
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not extractor(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad
