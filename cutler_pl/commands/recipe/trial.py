"""How long an image takes on this machine: some images are cut, a training step and some predictions are made."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.maskcut import build_predictor
from cutler_pl.errors import ImageReadError
from cutler_pl.images import list_images, read_image
from cutler_pl.models import Detector
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.logging import get_logger
from cutler_pl.types import ImageTensor, Target

log = get_logger(__name__)

_IMAGES = 2


def try_stages(configs: Mapping[str, DictConfig]) -> dict[str, float]:
    """Seconds per image by kind of stage: `masks`, `training`, `predictions`; nothing is written.

    Args:
        configs: Settings of one stage of each command.
    """
    log.info("trying some images, to estimate the time of the stages")
    found = {}
    if (maskcut := configs.get("maskcut")) is not None:
        found["masks"] = _masks(maskcut)
    if (train := configs.get("train")) is not None:
        with suppress(torch.OutOfMemoryError):
            found["training"] = _training(train)
        model = _detector(train).eval()
        images = [torch.from_numpy(image).permute(2, 0, 1) for image in _some_images(str(train.data.images))]
        found["predictions"] = _per_image(model.predict, [image.to(_device(train)) for image in images])
    return found


def _masks(cfg: DictConfig) -> float:
    cfg = cast(DictConfig, OmegaConf.merge(cfg, {"maskcut": {"features": {"cache": None}}}))
    predictor, device = build_predictor(cfg), _device(cfg)
    for extractor in predictor.extractors.values():
        if isinstance(extractor, torch.nn.Module):
            extractor.to(device)
    squares = [resize_to_square(image, cfg.maskcut.fixed_size) for image in _some_images(str(cfg.input))]
    return _per_image(
        lambda images: predictor.predict(["tried"] * len(images), torch.stack(images).to(device)), squares
    )


def _training(cfg: DictConfig) -> float:
    """Of forward and backward passes over images of random pixels, with three objects each."""
    model, device, count = _detector(cfg).train(), _device(cfg), int(cfg.data.batch_size)
    side = sorted(cfg.data.train_sizes)[len(cfg.data.train_sizes) // 2]
    size = (side, min(int(cfg.data.max_size), side * 4 // 3))
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, device=device) for _ in range(count)]
    targets = [_target(size, device) for _ in range(count)]

    def step() -> None:
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            losses: Mapping[str, torch.Tensor] = model(images, targets)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        model.zero_grad()

    return _seconds(step) / count


def _target(size_hw: tuple[int, int], device: torch.device) -> Target:
    masks = torch.zeros((3, *size_hw), dtype=torch.bool, device=device)
    height, width = size_hw
    corners = [(0, 0), (height // 3, width // 3), (height // 2, width // 4)]
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + height // 3, left : left + width // 3] = True
    boxes = [[left, top, left + width // 3, top + height // 3] for top, left in corners]
    return Target(
        boxes=torch.tensor(boxes, dtype=torch.float32, device=device),
        labels=torch.ones(3, dtype=torch.int64, device=device),
        masks=masks,
    )


def _detector(cfg: DictConfig) -> Detector:
    model: Detector = instantiate(cfg.model.detector)(num_classes=1)
    return model.to(_device(cfg))


def _device(cfg: DictConfig) -> torch.device:
    return torch.device("cuda" if cfg.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _per_image(work: Callable[[list[ImageTensor]], object], images: list[ImageTensor]) -> float:
    """Seconds per image."""
    with torch.inference_mode():
        return _seconds(lambda: work(images)) / len(images)


def _seconds(work: Callable[[], object]) -> float:
    """Time of the second of two calls: the first one compiles kernels and prepares them for the sizes of the images."""
    with torch.random.fork_rng():
        work()
        _finish()
        start = time.perf_counter()
        work()
        _finish()
    return time.perf_counter() - start


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _some_images(source: str) -> list[np.ndarray]:
    """Readable images, spread over the folder; random pixels where there is none."""
    root, names = list_images(source)
    found: list[np.ndarray] = []
    for name in names[:: max(1, len(names) // (2 * _IMAGES))]:
        with suppress(ImageReadError):  # the stage `check` lists it
            found.append(read_image(root / name))
        if len(found) == _IMAGES:
            break
    return found or [np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)]
