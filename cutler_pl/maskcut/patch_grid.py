"""The patch grid of a batch of images."""

from torch import Tensor

from cutler_pl.errors import ConfigError, InputError


def patch_grid(images: Tensor, patch_size: int, *, name: str) -> tuple[int, int]:
    """Rows and columns of patches.

    Args:
        images: What a feature extractor was called on.
        patch_size: Side of a patch in pixels.
        name: The extractor, for messages.

    Raises:
        ConfigError: A side is no multiple of the patch size.
        InputError: The images are not float (batch, 3, height, width).
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(
            f"images of {name}: expected float RGB (batch, 3, height, width) in [0, 1], "
            f"found {images.dtype} of shape {tuple(images.shape)}"
        )
    height, width = images.shape[2:]
    if height % patch_size or width % patch_size or not height or not width:
        raise ConfigError(
            f"images of {height}×{width} pixels cannot be cut in patches of {patch_size} by {name}; "
            "choose a fixed_size that is a multiple of the patch size"
        )
    return height // patch_size, width // patch_size
