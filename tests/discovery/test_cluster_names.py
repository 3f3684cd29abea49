from pathlib import Path

import pytest

from cutler_pl.discovery import read_names, write_names
from cutler_pl.errors import ConfigError, DatasetNotFoundError

ODD = {1: 'say "moo"', 2: "<b>a & b</b>", 3: "one, two: three #4", 4: "two\nlines", 5: "yes", 6: None, 7: "Käse 🧀"}


def test_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "clusters.yaml"
    write_names(path, [5, 1])
    assert read_names(path, 2) == {1: "cluster 1", 2: "cluster 2"}
    text = path.read_text()
    assert text.startswith("# ")
    assert "# 5 objects\n" in text
    assert "# 1 object\n" in text


def test_odd_names_read_back(tmp_path: Path) -> None:
    write_names(tmp_path / "clusters.yaml", [1] * len(ODD), ODD)
    assert read_names(tmp_path / "clusters.yaml", len(ODD)) == ODD


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clusters.yaml"
    path.write_text(text)
    return path


def test_null_and_drop_leave_out(tmp_path: Path) -> None:
    path = written(tmp_path, "clusters:\n  1: dog\n  2: null\n  3: drop\n  4: dog\n")
    assert read_names(path, 4) == {1: "dog", 2: None, 3: None, 4: "dog"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("clusters: {1: a, 2: b, 3: c}", "names the cluster 3, and there are clusters 1 to 2; remove the line"),
        ("clusters: {1: a, two: b}", "names the cluster 'two'"),
        ("clusters: {false: a}", "names the cluster False"),
        ("clusters: {1: a, true: b}", "names True twice, again in line 1"),
        ("clusters: {1: a}", "has no name for cluster 2; add a line for it, with null"),
        ("clusters:\n  1: a\n  2: b\n  1: c\n", "names 1 twice, again in line 4; keep one of the lines"),
        ("clusters: {1: a, 2: 2024}", "cluster 2 has the name 2024, which is no text; quote it"),
        ("clusters: {1: yes, 2: b}", "cluster 1 has the name True"),
        ("clusters: {1: ' ', 2: b}", "cluster 1 has the name ' '"),
        ("clusters: {1: [a], 2: b}", "which is no text"),
        ("clusters: {1: null, 2: drop}", "leaves out all clusters"),
        ("clusters: [a, b]", "expected `clusters:`"),
        ("1: a\n2: b\n", "expected `clusters:`"),
        ("", "expected `clusters:`"),
        ("clusters: {1: 'a", "is not YAML"),
        ("clusters: {[1]: a}", "is not YAML"),
        ("clusters: !!python/object:os.system {}", "is not YAML"),
        ("clusters: &a {1: *a, 2: b}", "clusters"),
    ],
)
def test_refuse_in_one_sentence(tmp_path: Path, text: str, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_names(path, 2)
    assert str(caught.value).startswith(f"{path}: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuse_missing_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_names(tmp_path / "none.yaml", 1)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_names(tmp_path / "binary.yaml", 1)
