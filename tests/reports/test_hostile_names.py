"""Names of strangers stay text on pages and in tables."""

from pathlib import Path

import numpy as np
import pytest

from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import markdown_text

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "`<b>`",
    "[a](javascript:alert(1))",
    "a|b\nc",
    "{{ 7 * 7 }}",
)


@pytest.mark.parametrize("name", NAMES)
def test_pages_escape_names(tmp_path: Path, name: str) -> None:
    figure = Figure(np.zeros((2, 2, 3), dtype=np.uint8), caption=name, alt=name)
    section = Section(name, text=[name], blocks=[figure, Row([figure], title=name)])
    page = Page(name, intro=[name], notice=name, sections=[section], commands=[name], metadata={name: name})
    write_page(tmp_path / "a.html", page)
    text = (tmp_path / "a.html").read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "<b>" not in text
    assert ">49<" not in text


@pytest.mark.parametrize("name", NAMES)
def test_markdown_escapes_names(name: str) -> None:
    text = markdown_text(name)
    assert "\n" not in text
    for special in "<>|[]`":
        assert text.count(special) == text.count("\\" + special)
