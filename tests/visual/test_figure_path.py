"""Figures lie below their folder and are never shared."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.visual.figure_path import figure_path, names_alike

PARTS = st.sampled_from([
    "..", ".", "", "a", "a.jpg", "a.png", "a.png.jpg", "a.jpg.jpg", "a.jpeg", "a.JPG", "elsewhere", "ä" * 120, "b:c",
])  # fmt: skip
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
FOLDER = Path("/out/overlays")


@pytest.mark.parametrize(
    ("name", "figure"),
    [("a.jpg", "a.jpg"), ("b/a.png", "b/a.png.jpg"), ("A.JPG", "A.JPG"), ("a.jpeg", "a.jpeg")],
)
def test_figure_of_plain_name(name: str, figure: str) -> None:
    assert figure_path(FOLDER, name) == FOLDER / figure


@pytest.mark.parametrize(
    "name", ["/data/a.jpg", "../a.jpg", "b/../../a.jpg", f"{'x' * 251}.png", "a", "a\n.png", "a.png.jpg"]
)
def test_odd_name_stays_below_folder(name: str) -> None:
    path = figure_path(FOLDER, name)
    assert path.parent == FOLDER / "elsewhere"
    assert len(path.name) < 100


@given(NAMES, NAMES)
def test_two_images_share_no_figure(first: str, second: str) -> None:
    """Neither the same file, nor a file where the other needs a folder."""
    one, other = figure_path(FOLDER, first), figure_path(FOLDER, second)
    assert ".." not in one.parts
    assert one.is_relative_to(FOLDER)
    if first != second:
        assert not one.is_relative_to(other)


def test_names_that_a_file_system_takes_for_one() -> None:
    """Case and the form of characters do not count on macOS and Windows: such names lie below `elsewhere`."""
    names = ["A.png", "a.png", "b.png", "caf\u00e9.png", "cafe\u0301.png"]
    alike = names_alike(names)
    assert alike == {*names} - {"b.png"}
    figures = {figure_path(FOLDER, name, alike=alike).name.casefold() for name in names}
    assert len(figures) == len(names)
    assert figure_path(FOLDER, "b.png", alike=alike) == FOLDER / "b.png.jpg"
