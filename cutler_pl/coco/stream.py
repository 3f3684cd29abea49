"""COCO files record by record, for those that are larger than memory: read in passes, written in one.

A reader holds one record and a piece of the file at a time; a writer keeps annotations in a second file until the
images before them are complete.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import atomic_write

LISTS = ("images", "annotations", "categories")
_PIECE = 1 << 20
_decoder = json.JSONDecoder()

Put = Callable[[Mapping[str, Any]], None]


def read_records(path: str | Path, *, require: Collection[str] = LISTS) -> Iterator[tuple[str, Any]]:
    """Go through a JSON object: `(key, element)` for each element of its lists, `(key, value)` for other values.

    Args:
        path: A COCO annotation file.
        require: Keys whose lists must be there; known only at the end.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is no JSON object, or a required list is missing.
    """
    if not Path(path).is_file():
        raise DatasetNotFoundError(f"no such annotation file: {path}")
    lists = set()
    with Path(path).open(encoding="utf-8-sig") as file:
        text = _Text(file, str(path))
        text.take("{", "a COCO object with images and annotations")
        while text.peek() != "}":
            key = text.value()
            text.take(":", "a colon")
            if text.peek() == "[":
                lists.add(key)
                for element in _elements(text):
                    yield key, element
            else:
                yield key, text.value()
            if text.peek() != "}":
                text.take(",", "a comma or the end of the object")
    for key in require:
        if key not in lists:
            raise AnnotationError(f'{path}: the list "{key}" of a COCO annotation file is missing; give another file')


class CocoWriter:
    """Takes images and annotations in any order; see `writing_coco`."""

    def __init__(self, put_image: Put, put_annotation: Put) -> None:
        self.image, self.annotation = put_image, put_annotation


@contextmanager
def writing_coco(path: str | Path, head: Mapping[str, Any]) -> Iterator[CocoWriter]:
    """Write a COCO file that appears whole when the block ends, and not at all if it fails.

    Args:
        path: File to write; parent folders are made.
        head: Everything but images and annotations.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    with (
        atomic_write(path) as temporary,
        tempfile.TemporaryFile("w+", dir=temporary.parent, encoding="ascii", newline="\n") as spool,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        begin = json.dumps(dict(head), separators=(",", ":"))[:-1]
        file.write(begin + ("," if head else "") + '"images":[')
        yield CocoWriter(list_writer(file), list_writer(cast(TextIO, spool)))
        file.write('],"annotations":[')
        spool.seek(0)
        shutil.copyfileobj(spool, file, _PIECE)
        file.write("]}\n")


def list_writer(file: TextIO) -> Put:
    """Function that writes records as the elements of a JSON list, one a line."""
    separator = "\n"
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

    def put(record: Mapping[str, Any]) -> None:
        nonlocal separator
        file.write(separator + encode(record))
        separator = ",\n"

    return put


def _elements(text: "_Text") -> Iterator[Any]:
    text.take("[", "a list")
    while text.peek() != "]":
        yield text.value()
        if text.peek() != "]":
            text.take(",", "a comma or the end of the list")
    text.take("]", "the end of the list")


class _Text:
    """A JSON text of which only the piece around the reading place is held."""

    def __init__(self, file: TextIO, where: str) -> None:
        self._file, self._where = file, where
        self._held, self._at, self._passed, self._ended = "", 0, 0, False

    def peek(self) -> str:
        """Next character that is not a space; nothing at the end of the file."""
        while True:
            while self._at < len(self._held):
                character = self._held[self._at]
                if character not in " \t\r\n":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str, expected: str) -> None:
        if self.peek() != character:
            raise self._fault(f"expected {expected}")
        self._at += 1

    def value(self) -> Any:
        """Decode one value; the end of the piece may cut it, so what does not fit is tried again with more."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._held, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self._fault(str(error)) from error
                continue
            if end < len(self._held) or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        """Let go of what is read and read as much again as is still held, but at least a piece."""
        if self._ended:
            return False
        self._passed += self._at
        rest = self._held[self._at :]
        try:
            piece = self._file.read(max(_PIECE, len(rest)))
        except UnicodeDecodeError as error:
            raise self._fault(str(error)) from error
        self._held, self._at, self._ended = rest + piece, 0, not piece
        return not self._ended

    def _fault(self, what: str) -> AnnotationError:
        place = self._passed + self._at
        return AnnotationError(
            f"{self._where}: not a COCO JSON file ({what}, after {place:,} characters); download or write it again"
        )
