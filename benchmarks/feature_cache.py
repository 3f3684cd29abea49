"""What `maskcut.features.cache` gains, and what half precision does to masks.

    python benchmarks/feature_cache.py --images <folder> [--max-images 40] [--vit vit_small_patch16_224.dino]

Times: features of images computed, computed and written, and read again; of a transformer with random weights, since
the time does not depend on them. Masks: those of MaskCut on `patch_descriptors` with and without a cache, before the
refinement.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.images import list_images, read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.environment import run_metadata


def parse_args() -> argparse.Namespace:
    """What to measure on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--max-images", type=int, default=40)
    parser.add_argument("--timed", type=int, default=4, help="images whose features are timed")
    parser.add_argument("--vit", default="vit_small_patch16_224.dino")
    parser.add_argument("--side", type=int, default=480)
    return parser.parse_args()


def main() -> None:
    """Print times and differences."""
    args = parse_args()
    torch.set_num_threads(1)
    root, names = list_images(args.images)
    images = [read_image(root / name) for name in names[: args.max_images]]
    print(run_metadata(None))
    with tempfile.TemporaryDirectory() as folder:
        times(args, images, Path(folder) / "timed")
        masks(images, Path(folder) / "masks")


def times(args: argparse.Namespace, images: list, folder: Path) -> None:
    """CPU-seconds per image."""
    torch.manual_seed(0)
    weights = timm.create_model(args.vit.partition(".")[0], num_classes=0).state_dict()
    squares = [resize_to_square(image, args.side)[None].float() / 255 for image in images[: args.timed]]
    name = f"timm/{args.vit}"

    def run(cache: Path | None) -> Callable[[], object]:
        extractor = build_feature_extractor(name, weights=weights, feature="key", cache=cache)
        return lambda: [extractor(square) for square in squares]

    for title, cache in (("computed", None), ("first run", folder), ("later run", folder)):
        work = run(cache)
        start, wall = time.process_time(), time.perf_counter()
        work()
        each = (time.process_time() - start) / len(squares), (time.perf_counter() - wall) / len(squares)
        print(f"{name} {title:>10}: {each[0]:.3f} CPU-seconds, {each[1]:.3f} seconds per image", flush=True)
    size = sum(path.stat().st_size for path in folder.rglob("*.npy")) / len(squares)
    print(f"{size / 1e6:.2f} MB per image on the disk")


def masks(images: list, folder: Path) -> None:
    """Masks that half precision changes."""
    option = read_maskcut_option("patch_descriptors")
    params = MaskCutParams(**{key: option[key] for key in MaskCutParams.__dataclass_fields__ if key in option})
    plain, cached = (build_feature_extractor(**option["features"] | {"cache": one}) for one in (None, folder))
    same = total = changed_images = 0
    ious = []
    for image in images:
        square = resize_to_square(image, option["fixed_size"])[None].float() / 255
        found = [maskcut(extractor(square), params).masks[0] for extractor in (plain, cached)]
        changed_images += not torch.equal(*found)
        for one, other in zip(*found, strict=True):
            union = int((one | other).sum())
            if union:
                total += 1
                same += torch.equal(one, other)
                ious.append(int((one & other).sum()) / union)
    print(f"{len(images)} images, {total} masks: {total - same} differ, in {changed_images} images;", end=" ")
    print(f"mean IoU {sum(ious) / max(len(ious), 1):.4f}, lowest {min(ious, default=1):.3f}")


if __name__ == "__main__":
    main()
