import base64
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import Table
from cutler_pl.visual.image_files import save_image

_VOID = {"meta", "img", "br", "hr", "link"}
_NASTY = "a<b>&\"'.jpg"


class _Parser(HTMLParser):
    """Collects tags with attributes and the text between them; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _pixels(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _page(*blocks: Table | Row | Figure, **more: object) -> Page:
    return Page("Results", sections=[Section("Part", blocks=blocks)], **more)


def _parsed(path: Path) -> _Parser:
    return _Parser(path.read_text(encoding="utf-8"))


def test_escape_every_text(tmp_path: Path) -> None:
    script = "<script>alert('x')</script> & \"more\""
    page = Page(
        script,
        intro=[script],
        notice=script,
        sections=[
            Section(
                script,
                text=[script],
                blocks=[
                    Table([script, script], [[script, script]], title=script, notes=[script]),
                    Row([Figure(_pixels(), caption=script, alt=script)], title=script),
                ],
            )
        ]
        * 3,
        commands=[script],
        metadata={script: script, "nested": {script: [script]}},
    )
    write_page(tmp_path / "index.html", page)
    parser = _parsed(tmp_path / "index.html")
    assert not parser.all("script")
    assert "".join(parser.words).count(script) == 4 + 3 + 3 * 9 + 1 + 4  # head, menu, sections, commands, metadata
    assert {image["alt"] for image in parser.all("img")} == {script}


def test_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", _page(Figure(_pixels()), Table(["a"], [["b"]])))
    parser = _parsed(tmp_path / "index.html")
    assert not parser.all("link")
    assert not parser.all("script")
    addresses = [v for _, attributes in parser.tags for k, v in attributes.items() if k in ("src", "href")]
    assert addresses
    assert all(not urlsplit(address).scheme and not urlsplit(address).netloc for address in addresses)
    assert "url(" not in (tmp_path / "index.html").read_text()
    assert "@import" not in (tmp_path / "index.html").read_text()


def test_pixels_become_linked_files(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", _page(Row([Figure(_pixels(20, 30)), Figure(_pixels(40, 10))])))
    images = _parsed(tmp_path / "index.html").all("img")
    assert [image["src"] for image in images] == ["index_files/0001.jpg", "index_files/0002.jpg"]
    for image in images:
        with Image.open(tmp_path / image["src"]) as stored:
            assert stored.size == (int(image["width"]), int(image["height"]))


@pytest.mark.parametrize(
    "name", [_NASTY, "my images (1), new/50% #1?.png", "über/日本.jpg", "c:d.jpg", os.fsdecode(b"caf\xe9.jpg")]
)
def test_link_files_of_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "figures" / name
    save_image(file, _pixels())
    write_page(tmp_path / "deep" / "page" / "index.html", _page(Figure(file, caption=name)))
    parser = _parsed(tmp_path / "deep" / "page" / "index.html")
    address = parser.all("img")[0]["src"]
    linked = unquote(urlsplit(address).path, errors="surrogateescape")
    assert (tmp_path / "deep" / "page" / linked).resolve() == file.resolve()
    assert name.encode("utf-8", "replace").decode() in "".join(parser.words)


def test_embed_figures(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    chart.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page_path = tmp_path / "alone" / "index.html"
    write_page(page_path, _page(Figure(_pixels()), Figure(chart)), embed=True)
    pixels, drawing = (image["src"] for image in _parsed(page_path).all("img"))
    assert base64.b64decode(pixels.removeprefix("data:image/jpeg;base64,")).startswith(b"\xff\xd8")
    assert base64.b64decode(drawing.removeprefix("data:image/svg+xml;base64,")) == chart.read_bytes()
    assert [p.name for p in page_path.parent.iterdir()] == ["index.html"]


def test_missing_figure_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"absent\.png: no such figure"):
        write_page(tmp_path / "index.html", _page(Figure(tmp_path / "absent.png")))
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("embed", [False, True])
def test_same_content_same_bytes(tmp_path: Path, embed: bool) -> None:
    for folder in ("a", "b"):
        page = _page(Row([Figure(_pixels())], title="x"), metadata={"seed": 0, "gpus": [], "x": {"y": 1}})
        write_page(tmp_path / folder / "index.html", page, embed=embed)
    first, second = (
        {p.relative_to(tmp_path / f): p.read_bytes() for p in (tmp_path / f).rglob("*") if p.is_file()} for f in "ab"
    )
    assert first == second


@pytest.mark.parametrize(
    ("figure", "title", "alt"),
    [
        (Figure(_pixels(), caption="image", alt="a dog"), "row", "a dog"),
        (Figure(_pixels(), caption="image"), "row", "image"),
        (Figure(_pixels()), "row", "row"),
        (Figure(_pixels()), "", "Figure"),
    ],
)
def test_every_figure_has_alt_text(tmp_path: Path, figure: Figure, title: str, alt: str) -> None:
    write_page(tmp_path / "index.html", _page(Row([figure], title=title)))
    assert _parsed(tmp_path / "index.html").all("img")[0]["alt"] == alt


def test_round_numbers_dash_missing(tmp_path: Path) -> None:
    rows = [["detector", 52.345, 7, None, float("nan"), "text"]]
    write_page(tmp_path / "index.html", _page(Table(["stage", "a", "b", "c", "d", "e"], rows)))
    text = (tmp_path / "index.html").read_text()
    assert re.findall(r"<td>(.*?)</td>", text) == ["52.3", "7", "–", "–", "text"]
    assert re.findall(r'<th scope="row" class="text">(.*?)</th>', text) == ["detector"]


@pytest.mark.parametrize(
    ("best", "expected"), [("highest", ["53.9", "60.1", "60.1"]), ("lowest", ["41.2", "55.0"]), (None, [])]
)
def test_mark_best_of_each_column(tmp_path: Path, best: str | None, expected: list[str]) -> None:
    rows = [["a", 41.2, 55.0, None], ["b", 53.9, 60.06, 3.0], ["c", 50.0, 60.14, None]]
    write_page(tmp_path / "index.html", _page(Table(["stage", "AP50", "AR", "alone"], rows, best=best)))
    assert sorted(re.findall(r"<strong>(.*?)</strong>", (tmp_path / "index.html").read_text())) == sorted(expected)


def test_backticks_become_code(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", Page("t", intro=["add `maskcut=<name>` here"], notice="and `this`"))
    text = (tmp_path / "index.html").read_text()
    assert re.findall("<code>(.*?)</code>", text) == ["maskcut=&lt;name&gt;", "this"]


def test_menu_links_every_section(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", Page("t", sections=[Section(name) for name in "abcd"]))
    parser = _parsed(tmp_path / "index.html")
    targets = [link["href"].removeprefix("#") for link in parser.all("a")]
    assert targets == [section["id"] for section in parser.all("section")]


def test_flatten_metadata_print_commands(tmp_path: Path) -> None:
    command = "bash scripts/quickstart.sh 'my images (1), new'"
    metadata = {"commit": "abc", "packages": {"torch": "2.14"}, "gpus": ["H100", "H200"], "seed": None, "empty": []}
    write_page(tmp_path / "index.html", _page(commands=["cd repo", command], metadata=metadata))
    text = (tmp_path / "index.html").read_text()
    keys, values = re.findall("<dt>(.*?)</dt>", text), re.findall("<dd>(.*?)</dd>", text)
    assert dict(zip(keys, values, strict=True)) == {
        "commit": "abc", "packages.torch": "2.14", "gpus": "H100, H200", "seed": "–", "empty": "–",
    }  # fmt: skip
    assert f"cd repo\n{command}" in "".join(_parsed(tmp_path / "index.html").words)


def test_empty_page(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", Page("Nothing yet"))
    parser = _parsed(tmp_path / "index.html")
    assert "Nothing yet" in parser.words
    assert not parser.all("footer")


def test_row_without_figures(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", _page(Row([], title="empty"), Table(["a"], [])))
    assert "empty" in _parsed(tmp_path / "index.html").words


def test_styles_for_light_dark_paper(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", Page("t"))
    text = (tmp_path / "index.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_mark_bold_rows(tmp_path: Path) -> None:
    table = Table(["a", "b"], [["x", 1], ["y", 2]], bold=frozenset({1}))
    write_page(tmp_path / "index.html", _page(table))
    assert [row.get("class") for row in _parsed(tmp_path / "index.html").all("tr")] == [None, None, "bold"]
