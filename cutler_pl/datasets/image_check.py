"""What a folder of images holds, before anything is computed from it: readable ones, copies, sizes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from cutler_pl.coco.failures import FAILURES_NAME, write_failures
from cutler_pl.errors import DatasetNotFoundError, ImageReadError
from cutler_pl.images import list_images, read_image
from cutler_pl.runtime.environment import usable_cpus
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

SUMMARY = "images.json"
_BATCH = 1024  # images whose pixels wait for nothing


class _Seen(NamedTuple):
    """What one file holds: size and digest of its pixels, or why it cannot be read."""

    size_hw: tuple[int, int] | None = None
    digest: bytes = b""
    reason: str = ""


def check_image_folder(images: str | Path, output: str | Path, *, digest: str | None = None) -> None:
    """Read every image of a folder once; write `images.json` with counts and sizes, and `failures.jsonl`.

    Args:
        images: Folder of images; nothing is written there.
        output: Folder to write.
        digest: Of names and times of the images, so that a changed folder is read again; not used otherwise.

    Raises:
        DatasetNotFoundError: There is no image, none can be read, or all show the same.
    """
    root, names = list_images(images)
    seen: dict[str, _Seen] = {}
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            seen |= zip(batch, pool.map(partial(_look, root), batch), strict=True)
            if len(names) > _BATCH:
                log.info("%d of %d images are read", len(seen), len(names))
    failures = {name: found.reason for name, found in seen.items() if found.size_hw is None}
    copies = _copies(seen)
    sizes = [found.size_hw for found in seen.values() if found.size_hw is not None]
    write_failures(Path(output) / FAILURES_NAME, failures)
    write_json(Path(output) / SUMMARY, _summary(names, sizes, copies, failures), indent=2)
    for name, reason in list(failures.items())[:20]:
        log.warning("left out, unreadable: %s", reason or name)
    log.info(
        "images: %d found, %d readable, %d unreadable, %d copies of others",
        len(names), len(sizes), len(failures), len(copies),
    )  # fmt: skip
    _refuse(Path(images), readable=len(sizes), copies=len(copies), failures=failures)


def _look(root: Path, name: str) -> _Seen:
    try:
        pixels = read_image(root / name)
    except ImageReadError as error:
        return _Seen(reason=str(error))
    height, width = pixels.shape[:2]
    return _Seen((height, width), blake2b(pixels.tobytes(), digest_size=16, key=b"%d %d" % (height, width)).digest())


def _copies(seen: Mapping[str, _Seen]) -> dict[str, str]:
    """Images with the pixels of an earlier one, and that one."""
    first: dict[bytes, str] = {}
    found = {}
    for name, image in seen.items():
        if image.size_hw is not None and first.setdefault(image.digest, name) != name:
            found[name] = first[image.digest]
    return found


def _summary(
    names: Sequence[str], sizes: Sequence[tuple[int, int]], copies: Mapping[str, str], failures: Mapping[str, str]
) -> dict[str, Any]:
    sides = {name: [size[axis] for size in sizes] for axis, name in enumerate(("height", "width"))}
    return {
        "found": len(names),
        "readable": len(sizes),
        "unreadable": sorted(failures),
        "copies": copies,
        "sizes": {name: [min(of), round(median(of)), max(of)] for name, of in sides.items()} if sizes else {},
    }


def _refuse(images: Path, *, readable: int, copies: int, failures: Mapping[str, str]) -> None:
    if readable == 0:
        first = next(iter(failures.values()))
        raise DatasetNotFoundError(f"{images}: none of its {len(failures)} image files can be read; the first: {first}")
    if readable - copies == 1:
        what = "holds one readable image" if readable == 1 else f"holds {readable} copies of one image"
        raise DatasetNotFoundError(
            f"{images}: {what}, and a detector learns from several different ones; add more, or find the masks of it "
            f"alone by cutler maskcut input={images} output=<folder>"
        )
