"""The number of processes and of accumulated batches changes nothing: images, proposals, losses (fp32, frozen norm)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_processes import Run, Seen, images_of_one_size, launch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Seen]:
    """A training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    images, annotations = images_of_one_size(data_dir, folder)
    run = Run(images, annotations, str(folder / "run"), batch_size=8)
    return run, launch(run)


def part(seen: Seen, steps: range) -> Seen:
    """What was seen in some steps."""
    return Seen(
        {place: image for place, image in seen.images.items() if place[0] in steps},
        {place: boxes for place, boxes in seen.proposals.items() if place[0] in steps},
        [seen.losses[step] for step in steps],
        seen.updates,
    )


def assert_same(found: Seen, expected: Seen, *, whole: bool = True) -> None:
    """Same images, proposals, losses and, where both are whole trainings, updates of the weights."""
    assert found.images == expected.images
    assert found.proposals.keys() == expected.proposals.keys()
    for place, boxes in expected.proposals.items():
        torch.testing.assert_close(found.proposals[place], boxes, rtol=1e-5, atol=1e-3)
    assert len(found.losses) == len(expected.losses) > 0
    for losses, others in zip(found.losses, expected.losses, strict=True):
        assert losses == pytest.approx(others, rel=1e-5, abs=1e-6)
    if whole:
        torch.testing.assert_close(found.updates, expected.updates, rtol=1e-3, atol=3e-7)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_equal_one(alone: tuple[Run, Seen], tmp_path: Path, processes: int) -> None:
    run, expected = alone
    assert_same(launch(replace(run, output=str(tmp_path / "run"), processes=processes)), expected)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 2), (2, 4)])
def test_accumulation_equals_one_batch(
    alone: tuple[Run, Seen], tmp_path: Path, batch_size: int, accumulate: int
) -> None:
    run, expected = alone
    split = replace(run, output=str(tmp_path / "run"), batch_size=batch_size, accumulate=accumulate)
    assert_same(launch(split), expected)


def test_four_times_four_equals_sixteen(alone: tuple[Run, Seen], tmp_path: Path) -> None:
    run = replace(alone[0], batch_size=16, steps=2)
    whole = launch(replace(run, output=str(tmp_path / "whole")))
    assert_same(launch(replace(run, output=str(tmp_path / "split"), batch_size=4, accumulate=4)), whole)


def test_resumed_with_other_accumulation(alone: tuple[Run, Seen], tmp_path: Path) -> None:
    """The same steps follow, in other forward passes."""
    run, expected = alone
    first = replace(run, output=str(tmp_path / "first"), batch_size=4, accumulate=2, steps=2)
    assert_same(launch(first), part(expected, range(2)), whole=False)
    for batch_size, accumulate in [(2, 4), (8, 1)]:
        split = {"batch_size": batch_size, "accumulate": accumulate, "resume": str(first.checkpoint)}
        resumed = launch(replace(run, output=str(tmp_path / f"{accumulate}"), **split))
        assert_same(resumed, part(expected, range(2, 4)), whole=False)


@pytest.mark.slow
def test_resumed_with_other_processes(alone: tuple[Run, Seen], tmp_path: Path) -> None:
    """From one process to two, and from two to one."""
    run, expected = alone
    rest = part(expected, range(2, 4))
    two = replace(run, output=str(tmp_path / "two"), processes=2, resume=str(run.checkpoint))
    assert_same(launch(two), rest, whole=False)
    start = replace(run, output=str(tmp_path / "start"), processes=2, steps=2)
    launch(start)
    one = replace(run, output=str(tmp_path / "one"), resume=str(start.checkpoint))
    assert_same(launch(one), rest, whole=False)
