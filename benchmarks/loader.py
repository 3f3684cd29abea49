"""Reading and transforming training images: CPU milliseconds per image and part, beside a plain implementation.

    python benchmarks/loader.py                                     80 generated JPEGs
    python benchmarks/loader.py --images <folder> --annotations <COCO JSON>
    python benchmarks/loader.py --images <folder>                   three generated run-length masks per image
    python benchmarks/loader.py --images <folder> --draft           Pillow's draft mode against full decoding

The plain implementation takes the same steps with Pillow, numpy and pycocotools alone, as the original does: decode the
image, turn it upright, resize it, rasterise polygons at the new size or decode run lengths and resize the mask, flip,
make tensors. Both sides get the same draws of size and flip; their masks, boxes and labels must be equal, and pixels
within one grey level (Pillow may resize rows before columns). One thread; the sides take turns image by image.
`--draft` compares images of which libjpeg decodes a half, a quarter or an eighth before they are resized.
"""

import argparse
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torchvision.io  # noqa: F401  # as every detector loads it, and then its decoder is used
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from cutler_pl.coco import rle, save_coco
from cutler_pl.coco.index import Objects
from cutler_pl.data.instances import InstanceDataset, Sample, collate
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import (
    TrainTransformParams,
    TransformParams,
    apply_image,
    apply_masks,
    sample_params,
)
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.images import read_image, read_image_size, read_oriented
from cutler_pl.ops.resize import resize_image, resized_size_hw
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.seeding import generator

REST = "boxes, labels, all else"
SIZES = TrainTransformParams(
    train_sizes=(240, 320, 480, 640, 672, 704, 736, 768, 800, 1024), max_size=1333, flip_probability=0.5
)
PARTS = ("read the file", "decode the image", "resize the image", "masks", "flip, copy", "collate", REST)
Clock = Callable[[str, Callable[[], Any]], Any]


def plain_sample(path: Path, objects: Objects, params: TransformParams, clock: Clock) -> tuple[Any, dict[str, Any]]:
    """One image and its target, step by step."""
    height, width = params.size_hw
    data = clock("read the file", path.read_bytes)
    pixels = clock("decode the image", lambda: _plain_decode(data))
    old_height, old_width = pixels.shape[:2]
    resized = clock(
        "resize the image",
        lambda: np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)),
    )
    counted = [i for i in range(len(objects.areas)) if not objects.is_crowd[i]]
    segmentations = [objects.segmentations[i] for i in counted]
    masks = clock("masks", lambda: [_plain_mask(given, (old_height, old_width), params) for given in segmentations])
    boxes = torch.as_tensor(_plain_boxes(objects.boxes_xywh[counted], (old_height, old_width), params))

    def flip_and_copy() -> tuple[torch.Tensor, torch.Tensor]:
        stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
        step = -1 if params.flip else 1
        image = torch.as_tensor(np.ascontiguousarray(resized[:, ::step].transpose(2, 0, 1)))
        return image, torch.as_tensor(np.ascontiguousarray(stacked[:, :, ::step]))

    def drop_vanished() -> dict[str, Any]:
        visible = ((boxes[:, 2:] - boxes[:, :2]) > 1e-5).all(dim=1) & stacked.flatten(1).any(dim=1)
        labels = torch.ones(len(counted), dtype=torch.int64)
        return {"boxes": boxes[visible], "labels": labels[visible], "masks": stacked[visible]}

    image, stacked = clock("flip, copy", flip_and_copy)
    target: dict[str, Any] = clock("masks", drop_vanished)
    return image, target


def _plain_decode(data: bytes) -> np.ndarray:
    from io import BytesIO

    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))


def _plain_mask(segmentation: Any, size_hw: tuple[int, int], params: TransformParams) -> np.ndarray:
    height, width = params.size_hw
    if isinstance(segmentation, list):
        factor = np.array([width / size_hw[1], height / size_hw[0]])
        polygons = [(np.reshape(polygon, (-1, 2)) * factor).ravel().tolist() for polygon in segmentation]
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))).astype(bool)
    mask = coco_mask.decode(segmentation)
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)).astype(bool)


def _plain_boxes(boxes_xywh: np.ndarray, size_hw: tuple[int, int], params: TransformParams) -> np.ndarray:
    (height, width), boxes = params.size_hw, boxes_xywh.copy()
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2] *= width / size_hw[1]
    boxes[:, 1::2] *= height / size_hw[0]
    if params.flip:
        boxes[:, 0], boxes[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    return boxes.astype(np.float32)


def our_parts(path: Path, objects: Objects, params: TransformParams, size_hw: tuple[int, int], clock: Clock) -> None:
    """The parts of `InstanceDataset`, whose whole is measured apart; decoding reads, image and masks are flipped."""
    counted = np.flatnonzero(~objects.is_crowd)
    segmentations: list[Any] = [objects.segmentations[i] for i in counted]
    clock("read the file", path.read_bytes)
    pixels = clock("decode the image", lambda: read_oriented(path, size_hw, exchangeable=True))
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    clock("resize the image", lambda: apply_image(image, params))
    clock("masks", lambda: apply_masks(segmentations, size_hw, params))


class Times:
    """CPU milliseconds per part, summed over the images of a round."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.whole = 0.0

    def clock(self, part: str, work: Callable[[], Any]) -> Any:
        """Run and add."""
        start = time.thread_time()
        result = work()
        self.parts[part] += 1000 * (time.thread_time() - start)
        return result


def run_round(data: InstanceDataset, epoch: int) -> tuple[Times, Times, int]:
    """All images once on both sides; the largest difference between pixels too."""
    plain, ours = Times(), Times()
    index, most = data.training_set.index, 0
    for position, number in enumerate(data.training_set.chosen.tolist()):
        path = Path(data.training_set.images) / index.file_names[number]
        params = sample_params(read_image_size(path), data.transforms, generator(data.seed, epoch, position))
        start = time.thread_time()
        objects = index.objects(number)
        reading = 1000 * (time.thread_time() - start)  # the index stands for any source of annotations
        start = time.thread_time()
        image, target = plain_sample(path, objects, params, plain.clock)
        plain.whole += 1000 * (time.thread_time() - start) + reading
        start = time.thread_time()
        sample = data[SampleKey(0, epoch, position)]
        ours.whole += 1000 * (time.thread_time() - start)
        our_parts(path, objects, params, index.size_hw(number), ours.clock)
        most = max(most, check_equal(sample, image, target))
        ours.clock("collate", partial(collate, [sample, sample]))
    ours.parts["decode the image"] -= ours.parts["read the file"]
    for times in (plain, ours):
        times.parts[REST] = times.whole - sum(times.parts.values())
        times.parts["collate"] = ours.parts["collate"]  # one function
        times.whole += ours.parts["collate"]
    return plain, ours, most


def check_equal(sample: Sample, image: torch.Tensor, target: dict[str, Any]) -> int:
    """Largest difference between pixels; everything else must be equal."""
    assert sample.image is not None
    assert sample.target is not None
    for name, value in target.items():
        if not torch.equal(sample.target[name], value):  # type: ignore[literal-required]
            raise SystemExit(f"{name} differ for image {sample.target['image_id']}")
    return int((sample.image.int() - image.int()).abs().max())


def generated_scenes(folder: Path, count: int) -> tuple[Path, Path]:
    """Scenes of 480×640 pixels as JPEGs, with the run-length masks of their objects."""
    images = folder / "scenes"
    write_scenes(images, count, SceneParams(height=480, width=640), seed=0)
    for path in images.iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=92)
        path.unlink()
    annotations = folder / "annotations.json"
    annotations.write_text(annotations.read_text().replace(".png", ".jpg"))
    return images, annotations


def generated_masks(images: Path, folder: Path) -> Path:
    """Three ellipses per image, as run lengths."""
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    suffixes = (".jpg", ".jpeg")
    for path in sorted(path for path in images.rglob("*") if path.suffix.lower() in suffixes):
        height, width = read_image(path).shape[:2]
        name = path.relative_to(images).as_posix()
        records.append({"id": len(records) + 1, "file_name": name, "height": height, "width": width})
        y, x = np.mgrid[:height, :width] + 0.5
        for _ in range(3):
            center, radii = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3, 2)
            mask = ((y / height - center[0]) / radii[0]) ** 2 + ((x / width - center[1]) / radii[1]) ** 2 < 1
            encoded = rle.encode(mask)
            annotations.append({
                "id": len(annotations) + 1, "image_id": len(records), "category_id": 1, "iscrowd": 0,
                "bbox": rle.bbox(encoded), "area": rle.area(encoded), "segmentation": encoded,
            })  # fmt: skip
    coco: Any = {"images": records, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    save_coco(folder / "annotations.json", coco)
    return folder / "annotations.json"


def draft(images: Path) -> None:
    """How far draft mode is from full decoding, for some lengths of the shorter side."""
    paths = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    print("| shorter side | images it applies to | of these within one grey level | largest difference, median |")
    print("|---|---|---|---|")
    for shortest in (120, 160, 240, 320):
        largest = []
        for path in paths:
            whole, part = Image.open(path), Image.open(path)
            size_hw = resized_size_hw((whole.height, whole.width), shortest=shortest, longest=SIZES.max_size)
            part.draft("RGB", size_hw[::-1])
            if part.size != whole.size:
                pair = [resize_image(_tensor(image), size_hw).int() for image in (whole, part)]
                largest.append(int((pair[0] - pair[1]).abs().max()))
        within = sum(difference <= 1 for difference in largest)
        print(f"| {shortest} | {len(largest)} of {len(paths)} | {within} | {median(largest) if largest else '-'} |")


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draft", action="store_true")
    options = parser.parse_args()
    if options.draft:
        if options.images is None:
            parser.error("--draft needs --images")
        draft(options.images)
        return
    torch.set_num_threads(1)
    print(f"commit {run_metadata()['commit']}, {os.cpu_count()} CPU cores, {platform.platform()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, annotations = options.images, options.annotations
        if images is None:
            images, annotations = generated_scenes(folder, 80)
        annotations = annotations or generated_masks(images, folder)
        training_set = TrainingSet(
            images=images, annotations=annotations, class_agnostic=True, filter_empty=True, index_dir=folder / "index"
        )
        data = InstanceDataset(training_set, SIZES, seed=0)
        run_round(data, 0)  # compiles
        rounds = [run_round(data, epoch) for epoch in range(options.rounds)]
        report(rounds, len(data), int(training_set.index.count_objects().sum()))


def report(rounds: list[tuple[Times, Times, int]], images: int, objects: int) -> None:
    """Medians and ranges over the rounds."""

    def shown(values: list[float], digits: int = 2) -> str:
        return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"

    print(f"{images} images, {objects} objects; CPU-ms per image, median of {len(rounds)} rounds (lowest-highest)\n")
    print("| part | plain | ours |\n|---|---|---|")
    for part in PARTS:
        cells = [
            shown([round_[side].parts[part] / images for round_ in rounds]) if part in rounds[0][side].parts else "-"
            for side in (0, 1)
        ]
        print(f"| {part} | {cells[0]} | {cells[1]} |")
    whole = [[round_[side].whole / images for round_ in rounds] for side in (0, 1)]
    print(f"| all | {shown(whole[0])} | {shown(whole[1])} |")
    rates = [[1000 / value for value in side] for side in whole]
    print(f"| images/s per core | {shown(rates[0], 1)} | {shown(rates[1], 1)} |")
    ratios = [plain / ours for plain, ours in zip(*whole, strict=True)]
    print(
        f"\nratio {shown(ratios)}; masks, boxes and labels equal, pixels within {max(r[2] for r in rounds)} grey level"
    )


if __name__ == "__main__":
    main()
