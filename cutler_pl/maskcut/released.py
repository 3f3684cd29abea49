"""The released vision transformers by name, and any other of timm."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import timm

from cutler_pl.errors import ConfigError

Feature = Literal["query", "key", "value", "kqv", "token"]
"""What describes a patch; `kqv` is its key, query and value one after the other."""
TIMM = "timm/"
_DINOV3_LICENCE = "the DINOv3 License (https://ai.meta.com/resources/models-and-libraries/dinov3-license/)"


@dataclass(frozen=True)
class Backbone:
    """A released vision transformer.

    Attributes:
        timm_name: Architecture and weights in timm.
        feature: What describes a patch unless asked otherwise.
        rotary: Positions enter by rotation of queries and keys (DINOv3) instead of a learned embedding.
        ignored: Endings of keys in the original checkpoints that are not used here.
        renamed: Parts of keys in the original checkpoints, and timm's words for them.
        licence: Of the weights, where it asks for more than Apache 2.0 does.
    """

    timm_name: str
    feature: Feature
    rotary: bool = False
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    licence: str | None = None


def _dinov2(timm_name: str) -> Backbone:
    return Backbone(
        timm_name,
        feature="token",
        ignored=("mask_token",),
        renamed=(("register_tokens", "reg_token"),),
    )


def _dinov3(timm_name: str) -> Backbone:
    return Backbone(
        timm_name,
        feature="token",
        rotary=True,
        ignored=("mask_token", ".periods", ".bias_mask"),
        renamed=(("storage_tokens", "reg_token"), ("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")),
        licence=_DINOV3_LICENCE,
    )


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "dino_vits8": Backbone("vit_small_patch8_224.dino", feature="key"),
        "dino_vitb8": Backbone("vit_base_patch8_224.dino", feature="key"),
        "dino_vits16": Backbone("vit_small_patch16_224.dino", feature="key"),
        "dino_vitb16": Backbone("vit_base_patch16_224.dino", feature="key"),
        "dinov2_vits14": _dinov2("vit_small_patch14_dinov2.lvd142m"),
        "dinov2_vitb14": _dinov2("vit_base_patch14_dinov2.lvd142m"),
        "dinov2_vits14_reg4": _dinov2("vit_small_patch14_reg4_dinov2.lvd142m"),
        "dinov2_vitb14_reg4": _dinov2("vit_base_patch14_reg4_dinov2.lvd142m"),
        "dinov3_vits16": _dinov3("vit_small_patch16_dinov3.lvd1689m"),
        "dinov3_vitb16": _dinov3("vit_base_patch16_dinov3.lvd1689m"),
    }
)


def find_backbone(name: str) -> Backbone:
    """The backbone of a name: one of `BACKBONES`, or `timm/<model>`, described by its output tokens.

    Raises:
        ConfigError: There is no such backbone, or the model is no vision transformer.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if not name.startswith(TIMM):
        known = ", ".join(["patch_descriptors", *BACKBONES])
        raise ConfigError(
            f"maskcut.features.name={name}: there is no such feature extractor; choose one of {known}, or timm/<model>"
        )
    model = name.removeprefix(TIMM)
    architecture = model.partition(".")[0]
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models("*vit*"), n=1)
        hint = f"; did you mean timm/{close[0]}?" if close else ""
        raise ConfigError(f"maskcut.features.name={name}: timm has no such model{hint}")
    if model != architecture and model not in timm.list_pretrained(f"{architecture}.*"):
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ConfigError(f"maskcut.features.name={name}: timm has no such weights; its weights for the model: {tags}")
    rotary = timm.model_entrypoint(architecture).__module__.endswith(".eva")
    ignored = ("head.weight", "head.bias", "mask_token", ".periods", ".bias_mask")
    licence = _DINOV3_LICENCE if "dinov3" in model else None
    return Backbone(model, feature="token", rotary=rotary, ignored=ignored, licence=licence)
