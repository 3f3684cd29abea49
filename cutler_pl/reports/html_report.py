"""Self-contained HTML pages of results: tables, curves, captioned figures, commands (`templates/page.html.j2`).

A page loads no external files, follows the reader's light or dark setting and describes every figure in words. Equal
content gives equal bytes.
"""

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.images import read_image_size
from cutler_pl.reports.tables import NONE, Table
from cutler_pl.runtime.files import write_text
from cutler_pl.visual.image_files import encode_image, save_image

_PIXEL_FORMAT = ".jpg"


@dataclass(frozen=True)
class Figure:
    """An image or chart with its caption.

    Attributes:
        source: Pixels, or an image file that browsers show.
        caption: Line below the figure.
        alt: Alternative text; the caption if empty.
    """

    source: UInt8[np.ndarray, "height width 3"] | Path
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Row:
    """Figures side by side, such as one image in all stages."""

    figures: Sequence[Figure]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, then tables, rows and figures."""

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Table | Row | Figure] = ()


@dataclass(frozen=True)
class Page:
    """A page; in paragraphs and notes, words between backticks are code.

    Attributes:
        title: Heading and window title.
        intro: Paragraphs below the title.
        notice: Framed warning; left out if empty.
        commands: Shell commands that made the page.
        metadata: Metadata of the run, folded; nested names are joined by dots.
    """

    title: str
    intro: Sequence[str] = ()
    notice: str = ""
    sections: Sequence[Section] = ()
    commands: Sequence[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


def write_page(path: str | Path, page: Page, *, embed: bool = False) -> None:
    """Write a page, and its pixels as JPEG files.

    Args:
        path: The HTML file; pixels go to the folder `<stem>_files` beside it, files are linked.
        embed: Embed all figures in the HTML file.

    Raises:
        DatasetNotFoundError: A figure's file is missing.
        ImageReadError: A figure's file is damaged.
    """
    figures = _FigureStore(Path(path), embed=embed)
    text = _environment().get_template("page.html.j2").render(page=page, place=figures.place, embed=embed)
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))  # file names may not be UTF-8


@dataclass(frozen=True)
class _PlacedFigure:
    """Address of a figure, and its size, None for SVG."""

    address: str
    size_wh: tuple[int, int] | None


class _FigureStore:
    """Writes pixels to files and gives each figure its address on the page."""

    def __init__(self, page_path: Path, *, embed: bool) -> None:
        self._embed = embed
        self._page_path = page_path
        self._written = 0

    def place(self, source: np.ndarray | Path) -> _PlacedFigure:
        if isinstance(source, np.ndarray):
            size_wh = (source.shape[1], source.shape[0])
            if self._embed:
                return _PlacedFigure(_data_address(encode_image(source, suffix=_PIXEL_FORMAT), _PIXEL_FORMAT), size_wh)
            self._written += 1
            folder = self._page_path.with_name(f"{self._page_path.stem}_files")
            target = folder / f"{self._written:04d}{_PIXEL_FORMAT}"
            save_image(target, source)
            return _PlacedFigure(self._relative(target), size_wh)
        if not source.is_file():
            raise DatasetNotFoundError(f"{source}: no such figure; write it before the page that shows it")
        address = _data_address(source.read_bytes(), source.suffix) if self._embed else self._relative(source)
        if source.suffix.lower() == ".svg":
            return _PlacedFigure(address, None)
        height, width = read_image_size(source)
        return _PlacedFigure(address, (width, height))

    def _relative(self, target: Path) -> str:
        relative = os.path.relpath(target.resolve(), self._page_path.resolve().parent)
        return quote(os.fsencode(Path(relative).as_posix()))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cutler_pl.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"split_code": re.compile(r"`([^`]+)`").split, "flatten": _flatten}
    environment.tests |= {"table": lambda block: isinstance(block, Table), "row": lambda block: isinstance(block, Row)}
    return environment


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or NONE
        else:
            yield f"{prefix}{key}", NONE if value is None else str(value)


def _data_address(content: bytes, suffix: str) -> str:
    suffix = suffix.lower()
    media_type = "image/svg+xml" if suffix == ".svg" else Image.MIME[Image.registered_extensions()[suffix]]
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
