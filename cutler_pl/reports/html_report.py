"""One self-contained web page of results: numbers, curves, rows of captioned pictures, and how they were made.

The page loads nothing from elsewhere, works from a local disk and on paper, follows the reader's light or dark
setting, and describes every picture in words. The same content gives the same bytes, so that a rerun changes nothing.
"""

import base64
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.runtime.files import write_text
from cutler_pl.visual.image_files import encode_image, save_image

Cell = str | int | float | None
_PIXEL_FORMAT = ".jpg"
_MEDIA_TYPES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_SECTIONS_WORTH_A_MENU = 3
_COLUMNS_AT_EASE = 9


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        source: Pixels, or an existing picture file (any format a browser shows, SVG included).
        caption: Line below the picture.
        alt: What the picture shows, for those who cannot see it; the caption if empty.
    """

    source: UInt8[np.ndarray, "height width 3"] | Path
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures that belong together, shown side by side, such as one photo in all stages."""

    pictures: Sequence[Picture]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers under headings; the first column names the rows.

    Attributes:
        columns: Headings.
        rows: Cells; None is shown as "–", a float with `digits` digits after the point.
        caption: What the numbers are, with their unit.
        digits: Digits after the point of floats.
        best: Which number of each column is marked as the best one; None marks none.
        strong: Rows, counted from 0, that stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 1
    best: Literal["highest", "lowest"] | None = None
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and any mix of tables, rows and single pictures in their order."""

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Table | Row | Picture] = ()


@dataclass(frozen=True)
class Page:
    """A whole page. In `intro`, `notice` and the text of sections, words between backticks are set as code.

    Attributes:
        title: Heading and window title.
        intro: Paragraphs below the title.
        notice: What the reader must not overlook, in a frame; left out if empty.
        sections: The content.
        commands: Shell commands that made the page, printed as they are.
        metadata: What is needed to repeat the run, folded away; nested mappings are joined with dots.
    """

    title: str
    intro: Sequence[str] = ()
    notice: str = ""
    sections: Sequence[Section] = ()
    commands: Sequence[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


def write_page(path: str | Path, page: Page, *, embed: bool = False) -> None:
    """Write a page, and those of its pictures that are not files yet.

    Args:
        path: The HTML file. Pixels are written as JPEG into the folder `<stem>_files` beside it; picture files stay
            where they are and are linked relative to the page.
        page: Content.
        embed: Put all pictures into the HTML file, which then can be sent alone.

    Raises:
        DatasetNotFoundError: A picture file is missing.
    """
    pictures = _PictureStore(Path(path), embed=embed)
    text = "\n".join(_page(page, pictures)) + "\n"
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))  # file names may hold bytes that are no text


class _PictureStore:
    """Gives each picture the address under which the page finds it, and writes pixels to files where needed."""

    def __init__(self, page_path: Path, *, embed: bool) -> None:
        self.embed = embed
        self._page_path = page_path
        self._written = 0

    def place(self, source: np.ndarray | Path) -> str:
        if isinstance(source, Path) and not source.is_file():
            raise DatasetNotFoundError(f"{source}: no such picture; write it before the page that shows it")
        if self.embed:
            if isinstance(source, Path):
                return _data_address(source.read_bytes(), suffix=source.suffix)
            return _data_address(encode_image(source, suffix=_PIXEL_FORMAT), suffix=_PIXEL_FORMAT)
        if isinstance(source, Path):
            return self._relative(source)
        self._written += 1
        folder = self._page_path.with_name(f"{self._page_path.stem}_files")
        target = folder / f"{self._written:04d}{_PIXEL_FORMAT}"
        save_image(target, source)
        return self._relative(target)

    def _relative(self, target: Path) -> str:
        relative = os.path.relpath(target.resolve(), self._page_path.resolve().parent)
        return quote(os.fsencode(Path(relative).as_posix()))


def _page(page: Page, pictures: _PictureStore) -> Iterator[str]:
    style = resources.files("cutler_pl.reports").joinpath("html_report.css").read_text(encoding="utf-8")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(page.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>"
    yield f"<header>\n<h1>{escape(page.title)}</h1>"
    yield from _paragraphs(page.intro)
    yield "</header>"
    if page.notice:
        yield f'<div class="notice" role="note"><p>{_with_code(page.notice)}</p></div>'
    if len(page.sections) >= _SECTIONS_WORTH_A_MENU:
        links = (f'<li><a href="#part-{i}">{escape(s.title)}</a></li>' for i, s in enumerate(page.sections, 1))
        yield f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'
    yield "<main>"
    for number, section in enumerate(page.sections, 1):
        yield f'<section id="part-{number}">\n<h2>{escape(section.title)}</h2>'
        yield from _paragraphs(section.text)
        for block in section.blocks:
            yield from _block(block, pictures)
        yield "</section>"
    yield "</main>"
    yield from _footer(page)
    yield "</body>\n</html>"


def _block(block: Table | Row | Picture, pictures: _PictureStore) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Row):
        yield '<div class="row">'
        if block.title:
            yield f"<h3>{escape(block.title)}</h3>"
        columns = max(1, len(block.pictures))
        yield f'<div class="figures" style="--columns: {columns}; --narrow-columns: {1 if columns <= 2 else 2}">'
        for picture in block.pictures:
            yield _figure(picture, pictures, fallback=block.title)
        yield "</div>\n</div>"
    else:
        yield f'<div class="single">{_figure(block, pictures, fallback="")}</div>'


def _figure(picture: Picture, pictures: _PictureStore, *, fallback: str) -> str:
    address = escape(pictures.place(picture.source))
    alt = picture.alt or picture.caption or fallback or "Picture"
    image = f'<img src="{address}" alt="{escape(alt)}"{_attributes(picture.source)}>'
    if not pictures.embed:  # browsers do not open data addresses
        image = f'<a href="{address}">{image}</a>'
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure>{image}{caption}</figure>"


def _attributes(source: np.ndarray | Path) -> str:
    """Size, with which a browser keeps the right place free before the picture is loaded; or that it is a chart."""
    if isinstance(source, Path):
        if source.suffix.lower() == ".svg":
            return ' class="chart"'
        with Image.open(source) as image:
            width, height = image.size
    else:
        height, width = source.shape[:2]
    return f' width="{width}" height="{height}"'


def _table(table: Table) -> Iterator[str]:
    best = _best_cells(table)
    yield f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.caption or "Table")}">'
    yield '<table class="wide">' if len(table.columns) > _COLUMNS_AT_EASE else "<table>"
    if table.caption:
        yield f"<caption>{escape(table.caption)}</caption>"
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    yield f"<thead><tr>{heads}</tr></thead>\n<tbody>"
    for r, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(_cell(row[0], table.digits))}</th>'] if row else []
        for c, value in enumerate(row[1:], 1):
            text = escape(_cell(value, table.digits))
            cells.append(f"<td><strong>{text}</strong></td>" if (r, c) in best else f"<td>{text}</td>")
        kind = ' class="strong"' if r in table.strong else ""
        yield f"<tr{kind}>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>\n</div>"


def _best_cells(table: Table) -> set[tuple[int, int]]:
    """Places (row, column) of the best numbers; what is printed equal is equally good."""
    if table.best is None:
        return set()
    pick = max if table.best == "highest" else min
    found = set()
    for c in range(1, len(table.columns)):
        column = {r: row[c] for r, row in enumerate(table.rows) if c < len(row)}
        numbers = {r: v for r, v in column.items() if isinstance(v, int | float) and math.isfinite(v)}
        if len(numbers) > 1:
            top = _cell(pick(numbers.values()), table.digits)
            found |= {(r, c) for r, v in numbers.items() if _cell(v, table.digits) == top}
    return found


def _cell(value: Cell, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _footer(page: Page) -> Iterator[str]:
    if not page.commands and not page.metadata:
        return
    yield "<footer>\n<h2>How this page was made</h2>"
    if page.commands:
        yield f"<pre><code>{escape(chr(10).join(page.commands))}</code></pre>"
    if page.metadata:
        items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _flat(page.metadata))
        yield f"<details>\n<summary>Versions, seed and hardware</summary>\n<dl>{items}</dl>\n</details>"
    yield "</footer>"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or "–"
        else:
            yield f"{prefix}{key}", "–" if value is None else str(value)


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    return (f"<p>{_with_code(text)}</p>" for text in texts)


def _with_code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _data_address(content: bytes, *, suffix: str) -> str:
    return f"data:{_MEDIA_TYPES[suffix.lower()]};base64,{base64.b64encode(content).decode('ascii')}"
