"""Patch features on disk in half precision, computed once per image and backbone.

A folder per backbone holds one `.npy` file per image, named after the image's pixels at the size that the backbone
sees, so that a changed image is another one. What the features depend on beside the image, with a checksum of the
weights, is recorded in the folder, and each file ends with a checksum of it and of the features: a file that is
damaged, or of other settings, is computed again. Several processes may share a folder.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32
from torch import Tensor, nn

from cutler_pl.coco.parameters import record_or_compare
from cutler_pl.errors import ConfigError, InputError
from cutler_pl.runtime.files import write_bytes
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

VERSION = 1
"""Of what this code makes of an image: a change of the features' values counts it up."""
PRECISION = "float16"
_SEAL_BYTES = 32
_WAY_OUT = "choose another maskcut.features.cache, or remove this folder"
_WRITING = Lock()  # other processes write under temporary names of their own
_LARGEST_HALF = 65504
_LEVELS = 65535  # of a pixel in a key: those of 8 bits are told apart, what a device rounds otherwise is not


class CachedFeatures(nn.Module):
    """An extractor whose features are read from a folder, and written there where they are missing.

    The first run uses the stored values, too: features in half precision, as float32. A batch of which one image is
    missing is computed as a whole, so that an interrupted run computes the same values as one that was not.

    Args:
        extractor: Computes the features.
        folder: Of all backbones; created.
        settings: What the features depend on beside the image and the weights, in JSON's types; `name` names the
            backbone.

    Attributes:
        folder: That of this backbone.
        num_read: Images whose features were read.
        num_computed: Images whose features were computed.

    Raises:
        ConfigError: The folder holds features of other weights or settings.
        OutputWriteError: The folder cannot be written.
    """

    def __init__(self, extractor: nn.Module, folder: str | Path, *, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.extractor = extractor
        self.patch_size: int = extractor.patch_size  # type: ignore[assignment]  # as FeatureExtractor says
        self.dim: int | None = extractor.dim  # type: ignore[assignment]
        self.num_read = self.num_computed = 0
        self.folder = Path(folder) / str(settings["name"]).replace("/", "_")
        recorded = {**settings, "version": VERSION, "precision": PRECISION, "weights": weights_digest(extractor)}
        self._identity = json.dumps(recorded, sort_keys=True).encode()
        if found := record_or_compare(self.folder, recorded, way_out=_WAY_OUT):
            raise ConfigError(
                f"{self.folder}: holds features made with {'; '.join(found)}; repeat the former settings, or {_WAY_OUT}"
            )

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float32[Tensor, "batch dim h w"]:
        """Features of RGB images in [0, 1] whose sides are multiples of the patch size.

        Raises:
            InputError: A feature is too large for half precision.
            OutputWriteError: There is no space on the disk.
        """
        paths = [self.folder / key[:2] / f"{key}.npy" for key in _keys(images)]
        found = [self._read(path) for path in paths]
        missing = [i for i, one in enumerate(found) if one is None]
        self.num_read += len(paths) - len(missing)
        self.num_computed += len(missing)
        if missing:
            computed = self._compute(images)
            for i in missing:
                found[i] = computed[i]
                self._write(paths[i], computed[i])
        return _stacked([one for one in found if one is not None]).to(images.device).float()

    def _compute(self, images: Float[Tensor, "batch 3 height width"]) -> list[Float16[Tensor, "_ h w"]]:
        features = self.extractor(images)
        half = features.half().cpu()
        if (half.isinf() & features.isfinite().cpu()).any():
            raise InputError(
                f"{self.folder}: features above {_LARGEST_HALF} do not fit into half precision; "
                "leave maskcut.features.cache out"
            )
        return [*half] if self.dim is not None else [one[: _used_channels(one)] for one in half]

    def _read(self, path: Path) -> Float16[Tensor, "_ h w"] | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); mend it, or choose another maskcut.features.cache"
            ) from error
        array, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
        if seal != self._seal(array):
            log.warning("%s: damaged, or of other features; computed again", path)
            return None
        return torch.from_numpy(np.load(io.BytesIO(array), allow_pickle=False))

    def _write(self, path: Path, features: Float16[Tensor, "_ h w"]) -> None:
        if not features.isfinite().all():  # no generator takes them
            return
        buffer = io.BytesIO()
        np.save(buffer, features.numpy(), allow_pickle=False)
        array = buffer.getvalue()
        with _WRITING:
            write_bytes(path, array + self._seal(array))

    def _seal(self, array: bytes) -> bytes:
        return hashlib.sha256(self._identity + array).digest()


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, in hexadecimal digits."""
    digest = hashlib.sha256()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def log_use(extractors: Iterable[object]) -> None:
    """Log how many images' features were read from a cache, and how many were computed."""
    for extractor in extractors:
        for part in extractor.modules() if isinstance(extractor, nn.Module) else ():
            if isinstance(part, CachedFeatures):
                counts = part.num_read, part.num_computed
                log.info("%s: features of %d images read, of %d computed", part.folder, *counts)


def _keys(images: Float[Tensor, "batch 3 height width"]) -> list[str]:
    """A name for the features of each image, from its pixels and the precision of the run."""
    kind = images.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else images.dtype
    pixels = (images.float().clamp(0, 1) * _LEVELS).round().int().cpu().numpy().astype(np.uint16)
    about = f"{precision} {tuple(images.shape[1:])}".encode()
    return [hashlib.sha256(about + one.tobytes()).hexdigest() for one in pixels]


def _used_channels(features: Float16[Tensor, "dim h w"]) -> int:
    """Number of channels without those at the end that are zero."""
    used = features.flatten(1).any(1).nonzero()
    return int(used[-1]) + 1 if len(used) else 1


def _stacked(features: list[Float16[Tensor, "_ h w"]]) -> Float16[Tensor, "batch dim h w"]:
    """Features of images in one tensor; those with fewer channels get zeros."""
    stacked = features[0].new_zeros(len(features), max(map(len, features)), *features[0].shape[1:])
    for target, one in zip(stacked, features, strict=True):
        target[: len(one)] = one
    return stacked
