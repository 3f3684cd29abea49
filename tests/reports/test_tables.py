import re

import pytest
from markdown_it import MarkdownIt

from cutler_pl.reports.tables import Table, markdown_table, markdown_text, tex_table, tex_text

HOSTILE = [
    "<script>alert('x')</script>",
    "a|b || c",
    r"back\slash \| \<b>",
    "`code` ``",
    "*bold* **bold** _em_ __em__ snake_case_name ~~gone~~",
    "[link](http://example.org) ![image](x.png) <http://example.org>",
    "&lt;b&gt; &amp; $x_1$",
    "# heading - list 1. list",
    "日本 über",
]


def rendered(markdown: str) -> str:
    """The text a reader sees, after rendering; fails if any other element than a table's or a paragraph's appears."""
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    tags = set(re.findall(r"</?(\w+)", html))
    assert tags <= {"p", "table", "thead", "tbody", "tr", "th", "td", "strong"}, tags
    text = re.sub(r"<[^>]*>", "", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_names_as_they_are(name: str) -> None:
    assert rendered(f"x {markdown_text(name)}").strip() == f"x {name}"
    table = Table([name, "b"], [[name, 1.0], ["other", 2.0]], bold=frozenset({0}))
    words = [line for line in rendered(markdown_table(table)).splitlines() if line]
    assert words == [name, "b", name, "1.0", "other", "2.0"]


def test_markdown_keeps_names_on_one_line() -> None:
    assert markdown_text("two\nlines\r\n| three") == r"two lines \| three"


def test_markdown_leaves_file_names_readable() -> None:
    assert markdown_text("scripts/prepare_dataset.py name=kitti") == "scripts/prepare_dataset.py name=kitti"


def test_align_text_left_numbers_right() -> None:
    table = Table(["dataset", "of", "AP"], [["coco", "box", 1.0]], text_columns=2)
    assert markdown_table(table).splitlines()[1] == "| --- | --- | ---: |"
    assert r"\begin{tabular}{llr}" in tex_table(table)


def test_texts_of_cells() -> None:
    table = Table(["name", "a", "b", "c", "d"], [["detector", 52.345, 7, None, float("nan")]])
    assert table.texts == [["detector", "52.3", "7", "–", "–"]]


def test_best_cells_share_equal_texts() -> None:
    rows = [["a", 41.2, 55.0, None], ["b", 53.9, 60.06, 3.0], ["c", 50.0, 60.14, None]]
    assert Table(["", "x", "y", "alone"], rows, best="highest").best_cells == {(1, 1), (1, 2), (2, 2)}
    assert Table(["", "x", "y", "alone"], rows, best="lowest").best_cells == {(0, 1), (0, 2)}
    assert Table(["", "x", "y", "alone"], rows).best_cells == set()


def test_hyphen_is_no_minus() -> None:
    assert tex_text("model-zoo-1, -1.0") == "model-zoo-1, $-$1.0"
