"""Finding images, videos and cameras."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.errors import CutlerError
from cutler_pl.media.sources import Sources, find_sources


@pytest.fixture
def root(write_image: Callable[..., Path], tmp_path: Path) -> Path:
    """Two images and two videos, one of each in a folder below, and other files."""
    for name in ("a.jpg", "b/a.png"):
        write_image(name, (4, 4))
    for name in ("clip.MP4", "b/clip.mkv", "notes.md", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folder_has_images_and_videos(root: Path) -> None:
    assert find_sources(root) == Sources(root, ["a.jpg", "b/a.png"], ["b/clip.mkv", "clip.MP4"])


def test_single_files_are_told_apart(root: Path) -> None:
    assert find_sources(root / "a.jpg") == Sources(root, ["a.jpg"], is_single=True)
    assert find_sources(str(root / "clip.MP4")) == Sources(root, [], ["clip.MP4"], is_single=True)


@pytest.mark.parametrize(
    ("pattern", "images", "videos"),
    [
        ("*.jpg", ["a.jpg"], []),
        ("*", ["a.jpg"], ["clip.MP4"]),
        ("**/*.[pmM]*", ["b/a.png"], ["b/clip.mkv", "clip.MP4"]),
        ("b/cl?p.mkv", [], ["clip.mkv"]),
    ],
)
def test_pattern_names_files_below_it(root: Path, pattern: str, images: list[str], videos: list[str]) -> None:
    found = find_sources(f"{root}/{pattern}")
    assert (found.images, sorted(found.videos)) == (images, videos)
    assert all((found.root / name).is_file() for name in (*found.images, *found.videos))
    assert not found.is_single


def test_brackets_in_a_name_are_no_pattern(write_image: Callable[..., Path]) -> None:
    path = write_image("[x].png", (4, 4))
    assert find_sources(path).images == ["[x].png"]


def test_list_is_below_its_common_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "b")
    found = find_sources(["../a.jpg", ".", f"{root}/*.MP4", f"{root}/b/a.png"])
    assert found == Sources(root, ["a.jpg", "b/a.png"], ["b/clip.mkv", "clip.MP4"])


def test_text_file_lists_both(root: Path) -> None:
    (root / "b" / "all.txt").write_text("../clip.MP4\na.png\n")
    found = find_sources(root / "b" / "all.txt")
    assert (found.root, found.images, found.videos) == (root / "b", ["a.png"], ["../clip.MP4"])
    assert not found.is_single


def test_camera_has_a_number() -> None:
    assert find_sources("camera:2") == Sources(Path(), camera=2, is_single=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.mp4", "none.mp4: no such file or folder; give an image, a video"),
        ("*.gif", r"\*.gif: the pattern matches no image and no video"),
        ("none/*.jpg", "matches no image"),
        ("camera:x", "camera:x: expected camera:<number>"),
        ("camera:", "camera:<number>"),
        (["a.jpg", "camera:0"], "camera:0: a camera is read alone"),
        (["a.jpg", "none.jpg"], "none.jpg: no such file"),
        ([], "the list of inputs is empty"),
    ],
)
def test_nothing_found_is_one_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch, source: str | list[str], message: str
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(CutlerError, match=message):
        find_sources(source)
