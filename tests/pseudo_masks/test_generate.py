import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import golden_set
import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.coco.io import load_coco
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.errors import ConfigError, OutputLockedError, OutputWriteError, TooManyFailuresError
from cutler_pl.images import list_images, read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import JobShard, RunOptions
from cutler_pl.pseudo_masks.progress_bar import MaskCutProgressBar
from cutler_pl.runtime.locks import file_lock

Extractor = Callable[[torch.Tensor], torch.Tensor]


SMALL: dict[str, Any] = {"fixed_size": 64, "batch_size": 2, "num_workers": 0, "threads": 2, "max_failure_rate": 0.1}


class Recorder(Observer):
    """Calls a function for each image, and tells which images are complete."""

    def __init__(
        self,
        on_image: Callable[[str], None] = lambda name: None,
        *,
        is_complete: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._on_image, self._is_complete = on_image, is_complete

    def on_image(self, masks: Sequence[ImageMasks], record: ShardRecord, preview: np.ndarray | None) -> None:
        assert {tile.name for tile in masks} == {record["file"]}
        self._on_image(record["file"])

    def is_complete(self, name: str) -> bool:
        return self._is_complete(name)


def run(
    source: Path,
    output: Path,
    *,
    extractor: Extractor | None = None,
    params: MaskCutParams | None = None,
    observer: Observer | None = None,
    callbacks: list[L.Callback] | None = None,
    **options: Any,
) -> MergeReport | None:
    """A small run on the CPU; images at 64 pixels, so on a grid of 8 × 8."""
    root, names = list_images(source)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=callbacks is not None,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    extractor = extractor or build_feature_extractor("patch_descriptors")
    return generate(
        root,
        names,
        output,
        predictor=MaskCutPredictor(extractor, params or MaskCutParams(tau=0.5)),
        trainer=trainer,
        options=RunOptions(**SMALL | options),
        observer=observer,
    )


def write_disc(path: Path, seed: int, size_hw: tuple[int, int] = (60, 80), *, mode: str = "RGB", **save: Any) -> Path:
    """A bright disc and a dark box on grey, with a little noise."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 4, (*size_hw, 3))
    cy, cx = rng.uniform(0.3, 0.7, 2) * size_hw
    pixels[(y - cy) ** 2 + (x - cx) ** 2 < (min(size_hw) * 0.25) ** 2] += (90, 40, -60)
    pixels[: size_hw[0] // 4, : size_hw[1] // 4] -= (20, 60, 90)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(path, **save)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos (1), new"
    for number in range(4):
        write_disc(folder / f"a/{number}.png", number)
    write_disc(folder / "b/0.png", 7, (90, 50))  # a base name that exists already
    (folder / "b/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    write_disc(folder / "größe.png", 8)
    return folder


def files(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in ("annotations.json", "failures.jsonl")}


def test_list_broken_image_and_do_the_rest(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = run(images, tmp_path / "out", max_failure_rate=0.2, callbacks=[MaskCutProgressBar()])
    assert report is not None
    shown = capfd.readouterr().out
    assert "7/7" in shown
    assert {line.split(":")[0].strip() for line in re.split(r"[\r\n]", shown) if "|" in line} == {"MaskCut"}  # one bar
    assert f"kept={report.annotations}, dropped={sum(report.dropped.values())}, failed=1" in shown
    coco = load_coco(tmp_path / "out/annotations.json").coco
    assert [(i["id"], i["file_name"], i["height"], i["width"]) for i in coco["images"]] == [
        (1, "a/0.png", 60, 80),
        (2, "a/1.png", 60, 80),
        (3, "a/2.png", 60, 80),
        (4, "a/3.png", 60, 80),
        (5, "b/0.png", 90, 50),
        (6, "größe.png", 60, 80),
    ]
    assert report.annotations == len(coco["annotations"]) > 0
    assert report.annotations + sum(report.dropped.values()) == 6 * 3  # every round is a mask or has a reason
    (failure,) = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["file"] == "b/broken.jpg"
    assert json.loads(failure)["reason"].startswith("not readable as an image")


@pytest.mark.parametrize("survivors", [0, 1, 4])
def test_resume_gives_the_same_bytes(images: Path, tmp_path: Path, survivors: int) -> None:
    run(images, tmp_path / "whole", max_failure_rate=0.2)
    seen: list[str] = []

    def die(name: str) -> None:
        seen.append(name)
        if len(seen) > survivors:
            raise KeyError("power cut")

    with pytest.raises(KeyError, match="power cut"):
        run(images, tmp_path / "out", max_failure_rate=0.2, observer=Recorder(die))
    assert not (tmp_path / "out/annotations.json").exists()
    again: list[str] = []
    run(images, tmp_path / "out", max_failure_rate=0.2, observer=Recorder(again.append))
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert len(again) == 6 - survivors // 2 * 2  # whole batches stay done


def test_finished_run_computes_nothing(images: Path, tmp_path: Path) -> None:
    (images / "b/broken.jpg").unlink()
    run(images, tmp_path / "out")
    before = files(tmp_path / "out")

    def refuse(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")

    run(images, tmp_path / "out", extractor=refuse)
    assert files(tmp_path / "out") == before


def test_next_run_does_repaired_image(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "out", max_failure_rate=0.2)
    (images / "b/broken.jpg").unlink()
    write_disc(images / "b/broken.jpg", 3, quality=95)
    report = run(images, tmp_path / "out")
    assert report is not None
    assert (report.images, report.failed) == (7, {})
    run(images, tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_last_job_of_an_array_merges(images: Path, tmp_path: Path) -> None:
    """Parts of a job array give the same file as one run, and the last one to finish merges."""
    run(images, tmp_path / "whole", max_failure_rate=0.2)
    for index in (2, 0):
        assert run(images, tmp_path / "out", shard=JobShard(index, 3), max_failure_rate=0.5) is None
        assert not (tmp_path / "out/annotations.json").exists()
    assert run(images, tmp_path / "out", shard=JobShard(1, 3), max_failure_rate=0.5) is not None
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_refuse_part_that_does_not_exist(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.index=3 with job\.count=3"):
        run(images, tmp_path / "out", shard=JobShard(3, 3))


def test_loader_processes_change_nothing(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "a", max_failure_rate=0.2)
    run(images, tmp_path / "b", max_failure_rate=0.2, num_workers=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_too_many_failures_are_an_error(images: Path, tmp_path: Path) -> None:
    """The rest is done before the error."""
    with pytest.raises(TooManyFailuresError, match=r"1 of 7 images failed.*b/broken\.jpg: not readable"):
        run(images, tmp_path / "out")
    assert len(load_coco(tmp_path / "out/annotations.json").coco["images"]) == 6


def test_single_unreadable_image_is_an_error(images: Path, tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match=r"broken\.jpg: not readable"):
        run(images / "b/broken.jpg", tmp_path / "out", max_failure_rate=0.9)


def test_refuse_other_parameters_in_used_folder(images: Path, tmp_path: Path) -> None:
    run(images / "a", tmp_path / "out", settings={"input": "a"})
    with pytest.raises(ConfigError, match=r"cut\.tau=0\.5 where 0\.6"):
        run(images / "a", tmp_path / "out", settings={"input": "a"}, params=MaskCutParams(tau=0.6))
    with pytest.raises(ConfigError, match="input=a where b"):
        run(images / "b", tmp_path / "out", settings={"input": "b"})


def test_refuse_locked_folder(images: Path, tmp_path: Path) -> None:
    with file_lock(tmp_path / "out", purpose="maskcut"), pytest.raises(OutputLockedError):
        run(images, tmp_path / "out")


OLD_RUN = Path(__file__).parent / "run_of_version_0_1"


def test_resume_run_of_version_0_1(tmp_path: Path) -> None:
    """Shards of commit e082497, cut off in the middle of a line, are resumed to the file of their own time.

    Made there by `generate` with `tau=0.5`, 64 pixels and batches of 2 on the images beside them.
    """
    output = tmp_path / "out"
    shutil.copytree(OLD_RUN / "out/shards", output / "shards")
    (shard,) = (output / "shards").glob("*.jsonl")
    content = shard.read_bytes()
    shard.write_bytes(content[: content.index(b"c.png") + 100])
    again: list[str] = []
    run(
        OLD_RUN / "images",
        output,
        settings={"input": "images"},
        max_failure_rate=0.5,
        observer=Recorder(again.append),
    )
    assert files(output) == files(OLD_RUN / "out")
    assert sorted(again) == ["c.png", "d.png"]  # by threads, in any order


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


def test_incomplete_images_are_done_again(images: Path, tmp_path: Path) -> None:
    run(images / "a", tmp_path / "out")
    before = files(tmp_path / "out")
    again: list[str] = []
    run(
        images / "a",
        tmp_path / "out",
        observer=Recorder(again.append, is_complete=lambda name: name != "2.png"),
    )
    assert "2.png" in again
    assert files(tmp_path / "out") == before


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


def test_read_or_list_every_image_kind(tmp_path: Path) -> None:
    folder = tmp_path / "kinds"
    upright = write_disc(folder / "rgb.png", 1)
    write_disc(folder / "grey.jpg", 1, mode="L", quality=95)
    write_disc(folder / "cmyk.jpg", 1, mode="CMYK", quality=95)
    write_disc(folder / "palette.png", 1, mode="P")
    write_disc(folder / "alpha.png", 1, mode="RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(upright).rotate(90, expand=True).save(folder / "turned.png", exif=exif)
    deep = np.asarray(Image.open(upright).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    whole = write_disc(folder / "truncated.jpg", 1, quality=95).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    write_disc(folder / "dot.png", 1, (1, 1))
    write_disc(folder / "thin.png", 1, (2, 300))
    run(folder, tmp_path / "out", max_failure_rate=0.5)
    coco = load_coco(tmp_path / "out/annotations.json").coco
    sizes = {i["file_name"]: (i["height"], i["width"]) for i in coco["images"]}
    good = ["alpha.png", "cmyk.jpg", "deep.png", "grey.jpg", "palette.png", "rgb.png", "turned.png"]
    assert sizes == {"thin.png": (2, 300), **dict.fromkeys(good, (60, 80))}
    failed = [json.loads(line)["file"] for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert failed == ["dot.png", "empty.jpg", "truncated.jpg"]
    found = {
        i["file_name"]: [a["segmentation"] for a in coco["annotations"] if a["image_id"] == i["id"]]
        for i in coco["images"]
    }
    assert found["turned.png"] == found["rgb.png"] == found["alpha.png"] != []


class RecordedFeatures:
    """Gives each image the features that were recorded for it; recognises it by its pixels."""

    patch_size = 8

    def __init__(self, dataset: Path, features: dict[str, np.ndarray]) -> None:
        self.known = {}
        for name, recorded in features.items():
            original = Image.fromarray(read_image(dataset / name))
            square = np.array(original.resize((480, 480), Image.Resampling.LANCZOS))
            grid = torch.from_numpy(recorded.astype(np.float32)).unflatten(-1, (60, 60))
            self.known[square.tobytes()] = grid

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.stack([self.known[one.tobytes()] for one in pixels])


@pytest.mark.golden
def test_match_golden_annotations_exactly(golden_dir: Path, tmp_path: Path) -> None:
    dataset, features, theirs = golden_set.pipeline_dataset(golden_dir / "maskcut/pipeline", tmp_path / "images")
    report = run(
        dataset,
        tmp_path / "out",
        extractor=RecordedFeatures(dataset, features),
        params=MaskCutParams(),
        fixed_size=480,
        batch_size=1,
        max_failure_rate=0.2,
    )
    ours = json.loads((tmp_path / "out" / "annotations.json").read_text())

    def by_name(coco: dict) -> dict[str, list[dict]]:
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        found: dict[str, list[dict]] = {name: [] for name in names.values()}
        for annotation in coco["annotations"]:
            values = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
            found[names[annotation["image_id"]]].append(values)
        return found

    assert by_name(ours) == by_name(theirs)
    sizes = {i["file_name"]: (i["width"], i["height"]) for i in ours["images"]}
    assert sizes == {i["file_name"]: (i["height"], i["width"]) for i in theirs["images"]}  # exchanged there
    assert [i["file_name"] for i in ours["images"]] == sorted(sizes)
    assert [i["id"] for i in ours["images"]] == list(range(1, len(theirs["images"]) + 1))
    assert report is not None
    assert report.without_annotations == 1
    assert [name.split(".")[0] for name, found in by_name(ours).items() if not found] == ["n_aa/img_04_noise"]
    failures = [json.loads(line) for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert [failure["file"].split(".")[0] for failure in failures] == ["n_aa/img_03_broken"]
