"""Runs that were cut off, are repeated or are parts of one run."""

import shutil
from pathlib import Path

import pytest
import torch

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.pseudo_masks.options import JobShard

from .small_runs import Recorder, files, run, write_disc


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


def test_refuse_other_parameters_in_used_folder(images: Path, tmp_path: Path) -> None:
    run(images / "a", tmp_path / "out", settings={"input": "a"})
    with pytest.raises(ConfigError, match=r"cut\.tau=0\.5 where 0\.6"):
        run(images / "a", tmp_path / "out", settings={"input": "a"}, params=MaskCutParams(tau=0.6))
    with pytest.raises(ConfigError, match="input=a where b"):
        run(images / "b", tmp_path / "out", settings={"input": "b"})


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
