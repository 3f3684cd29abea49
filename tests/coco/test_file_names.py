"""File names of annotations, below the image folder."""

from pathlib import Path

import pytest

from cutler_pl.coco.file_names import leads_out, path_below
from cutler_pl.errors import AnnotationError


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("a.jpg", False), ("a..b/c.jpg", False), ("b/../a.jpg", False), ("IMAGES/a.jpg", False),
        ("../images/a.jpg", False), ("../a.jpg", True), ("/etc/a.jpg", True), ("b/../../images2/a.jpg", True),
        ("..", True),
    ],
)  # fmt: skip
def test_names_stay_in_folder(tmp_path: Path, name: str, outside: bool) -> None:
    folder = tmp_path / "images"
    name = name.replace("IMAGES", str(folder))
    assert leads_out(folder, name) is outside
    if outside:
        with pytest.raises(AnnotationError, match="leads out of the image folder"):
            path_below(folder, name)
    else:
        assert path_below(folder, name) == folder / name


def test_relative_folder_has_absolute_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not leads_out("images", f"{tmp_path}/images/a.jpg")
    assert not leads_out("/", f"{tmp_path}/images/a.jpg")
    assert leads_out("images", f"{tmp_path}/a.jpg")
