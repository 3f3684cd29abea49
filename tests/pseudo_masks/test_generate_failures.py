"""What ends a run or leaves an image out."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cutler_pl.coco.io import load_coco
from cutler_pl.errors import OutputLockedError, OutputWriteError, TooManyFailuresError
from cutler_pl.maskcut import build_feature_extractor
from cutler_pl.runtime.locks import file_lock

from .small_runs import Recorder, files, run


def test_too_many_failures_are_an_error(images: Path, tmp_path: Path) -> None:
    """The rest is done before the error."""
    with pytest.raises(TooManyFailuresError, match=r"1 of 7 images failed.*b/broken\.jpg: not readable"):
        run(images, tmp_path / "out")
    assert len(load_coco(tmp_path / "out/annotations.json").coco["images"]) == 6


def test_single_unreadable_image_is_an_error(images: Path, tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match=r"broken\.jpg: not readable"):
        run(images / "b/broken.jpg", tmp_path / "out", max_failure_rate=0.9)


def test_refuse_locked_folder(images: Path, tmp_path: Path) -> None:
    with file_lock(tmp_path / "out", purpose="maskcut"), pytest.raises(OutputLockedError):
        run(images, tmp_path / "out")


class LittleMemory:
    """Patch descriptors for as many images at once as memory allows, and none for small ones' dark twins."""

    patch_size = 8

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []
        self.descriptors = build_feature_extractor("patch_descriptors")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return self.descriptors(images)


def test_out_of_memory_halves_the_batch(images: Path, tmp_path: Path) -> None:
    run(images / "a", tmp_path / "whole", batch_size=4)
    extractor = LittleMemory(most=1)
    run(images / "a", tmp_path / "out", batch_size=4, extractor=extractor)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert extractor.asked == [4, 2, 1, 1, 1, 1]  # and it remembers


def test_image_too_large_for_memory_fails(images: Path, tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match="out of memory, even alone"):
        run(images / "a", tmp_path / "out", extractor=LittleMemory(most=0))
    assert len((tmp_path / "out/failures.jsonl").read_text().splitlines()) == 4


def test_other_extractor_errors_are_raised(images: Path, tmp_path: Path) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(images, tmp_path / "out", extractor=broken)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 KiB; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here, run as root: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_keeps_what_is_done(images: Path, tmp_path: Path, small_disk: Path) -> None:
    (images / "b/broken.jpg").unlink()
    run(images, tmp_path / "whole")
    output = small_disk / "out"
    filler = small_disk / "filler"

    def fill_up(name: str) -> None:
        if name.endswith("2.png"):
            with pytest.raises(OSError, match="No space left"), filler.open("wb") as file:  # noqa: PT012
                while True:
                    file.write(bytes(1024))
                    file.flush()

    with pytest.raises(OutputWriteError, match=r"cannot be written \(No space left on device\); free space or choose"):
        run(images, output, observer=Recorder(fill_up))
    done = sum(len(shard.read_text().splitlines()) for shard in (output / "shards").glob("*.jsonl"))
    assert done >= 2
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert run(images, output) is not None
    assert files(output) == files(tmp_path / "whole")
