"""A folder of small images."""

from pathlib import Path

import pytest

from .small_runs import write_disc


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos (1), new"
    for number in range(4):
        write_disc(folder / f"a/{number}.png", number)
    write_disc(folder / "b/0.png", 7, (90, 50))  # a base name that exists already
    (folder / "b/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    write_disc(folder / "größe.png", 8)
    return folder
