"""COCO files record by record, for those that are larger than memory: read in passes, written in one."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import orjson

from cutler_pl.coco.json_text import json_error, kind, shown
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import atomic_write, is_file
from cutler_pl.runtime.limits import JSON_VALUE

LISTS = ("images", "annotations", "categories")
_CHUNK_CHARACTERS = 1 << 20
_SEPARATOR = re.compile(r"\}\s*,\s*\Z")
_MAX_SEPARATOR = 200
_MAX_CUTS = 4
_MAX_CUT_WORD = 16  # characters at the end of a buffer that may be an incomplete constant or escape
_decoder = json.JSONDecoder()

WriteRecord = Callable[[Mapping[str, Any]], None]


def read_records(path: str | Path, *, require: Collection[str] = LISTS) -> Iterator[tuple[str, Any]]:
    """Iterate over a JSON object: `(key, element)` for each element of its lists, `(key, value)` for other values.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is no JSON object, or at its end a list of `require` is missing.
    """
    for key, batch in read_batches(path, require=require):
        if isinstance(batch, Batch):
            for element in batch:
                yield key, element
        else:
            yield key, batch


class Batch(list[Any]):
    """Successive elements of one list."""


def read_batches(path: str | Path, *, require: Collection[str] = LISTS) -> Iterator[tuple[str, Any]]:
    """As `read_records`, but with the elements of a list in batches, of about a megabyte where all are objects."""
    lists = set()
    with _opened(path) as file:
        text = _JsonReader(file, str(path))
        text.take("{", "a COCO object with images and annotations")
        while text.peek() != "}":
            key = text.key()
            if text.peek() == "[":
                lists.add(key)
                for batch in _elements(text):
                    yield key, batch
            elif key in LISTS:
                raise _missing(path, key, f", but {kind(text.value())}")
            else:
                yield key, text.value()
            if text.peek() != "}":
                text.take(",", "a comma or the end of the object")
        text.take("}", "the end of the object")
        text.take("", "the end of the file")
    for key in require:
        if key not in lists:
            raise _missing(path, key)


def images_first(path: str | Path) -> Iterator[tuple[str, Any]]:
    """As `read_batches`, with the annotations after all images: a file that has them before is read twice."""
    seen, early = set(), False
    for key, batch in read_batches(path):
        seen.add(key)
        early |= key == "annotations" and "images" not in seen
        if key != "annotations" or "images" in seen:
            yield key, batch
    if early:
        yield from (item for item in read_batches(path) if item[0] == "annotations")


def read_list(path: str | Path) -> Iterator[Batch]:
    """The elements of a JSON list, such as COCO results, in batches as of `read_batches`.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is no JSON list.
    """
    with _opened(path) as file:
        text = _JsonReader(file, str(path))
        yield from _elements(text)
        text.take("", "the end of the file")


def is_list(path: str | Path) -> bool:
    """Whether a JSON file begins as a list; raises as `read_list` does."""
    with _opened(path) as file:
        return _JsonReader(file, str(path)).peek() == "["


class CocoWriter(NamedTuple):
    """Takes images and annotations in any order; see `writing_coco`."""

    image: WriteRecord
    annotation: WriteRecord


@contextmanager
def writing_coco(path: str | Path, header: Mapping[str, Any]) -> Iterator[CocoWriter]:
    """Write a COCO file that appears whole when the block ends, and not at all if it fails.

    Annotations are kept in a second file until all images are written. `header` is everything else of the content.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    with (
        atomic_write(path) as temporary,
        tempfile.TemporaryFile("w+", dir=temporary.parent, encoding="ascii", newline="\n") as spool,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        try:
            begin = json.dumps(dict(header), separators=(",", ":"))[:-1]
        except RecursionError as error:
            raise AnnotationError(f"{path}: not written, its header is nested too deeply; repair the input") from error
        file.write(begin + ("," if header else "") + '"images":[')
        yield CocoWriter(list_writer(file), list_writer(cast(TextIO, spool)))
        file.write('],"annotations":[')
        spool.seek(0)
        shutil.copyfileobj(spool, file, _CHUNK_CHARACTERS)
        file.write("]}\n")


def list_writer(file: TextIO) -> WriteRecord:
    """Function that writes records as the elements of a JSON list, one per line.

    Raises:
        AnnotationError: A record has NaN or infinity, or is nested too deeply.
    """
    separator = "\n"
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

    def put(record: Mapping[str, Any]) -> None:
        nonlocal separator
        try:
            file.write(separator + encode(record))
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else f"not JSON compliant ({error})"
            record_name = f"the record with id {shown(record.get('id'))}"
            raise AnnotationError(f"{record_name} is {why} and cannot be written; repair the annotations") from error
        separator = ",\n"

    return put


@contextmanager
def _opened(path: str | Path) -> Iterator[TextIO]:
    if not is_file(path):
        raise DatasetNotFoundError(f"no such annotation file: {path}")
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); copy or download it again") from error


def _missing(path: str | Path, key: str, found: str = "") -> AnnotationError:
    return AnnotationError(f'{path}: the list "{key}" of a COCO annotation file is missing{found}; give another file')


def _elements(text: "_JsonReader") -> Iterator[Batch]:
    text.take("[", "a list")
    if text.peek() == "]":
        yield Batch()
    while text.peek() != "]":
        batch = text.objects() or Batch([text.value()])
        yield batch
        if text.peek() != "]":
            text.take(",", "a comma or the end of the list")
    text.take("]", "the end of the list")


class _JsonReader:
    """A JSON text of which only a chunk around the reading position is in memory."""

    def __init__(self, file: TextIO, source_name: str) -> None:
        self._file, self._source_name = file, source_name
        self._buffer, self._position, self._consumed, self._at_end = "", 0, 0, False
        self._tried = False

    def peek(self) -> str:
        """Next character that is not a space; nothing at the end of the file."""
        while True:
            while self._position < len(self._buffer):
                character = self._buffer[self._position]
                if character not in " \t\r\n":
                    return character
                self._position += 1
            if not self._more():
                return ""

    def take(self, character: str, expected: str) -> None:
        if self.peek() != character:
            raise self._error(f"expected {expected}")
        self._position += 1

    def key(self) -> str:
        """Decode the key of a value."""
        if self.peek() != '"':
            raise self._error("expected a key in quotes")
        key = self.value()
        self.take(":", "a colon")
        return str(key)

    def value(self) -> Any:
        """Decode one value; one that the end of the buffer cuts is decoded again with more text."""
        self.peek()
        while True:
            start = self._position
            try:
                value, end = _decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._buffer) - _MAX_CUT_WORD or error.msg.startswith("Unterminated string")
                if is_cut and self._more():
                    continue
                self._position += error.pos - start  # `_more` may have dropped what is before the value
                raise self._error(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self._error(json_error(error)) from error
            if end < len(self._buffer) or not self._more():
                self._check_length(end - self._position)
                self._position = end
                return value

    def objects(self) -> Batch:
        """Objects of a list that end within the buffer, except the last; empty if none are found.

        The text is cut between two objects, from the end on. If what is before the cut is valid as a list, the cut was
        neither in a string nor in a nested list. Few cuts are tried per chunk: where a list ends, all of them fail.
        """
        start, cuts = len(self._buffer), 0 if self._tried else _MAX_CUTS
        self._tried = True
        while cuts and (start := self._buffer.rfind("{", self._position, start)) > self._position:
            if not _SEPARATOR.search(self._buffer, max(self._position, start - _MAX_SEPARATOR), start):
                continue
            cuts -= 1
            objects = self._buffer[self._position : start].rstrip().removesuffix(",")
            try:
                batch = Batch(orjson.loads(f"[{objects}]"))
            except (ValueError, RecursionError):
                continue
            self._position += len(objects)
            return batch
        return Batch()

    def _more(self) -> bool:
        """Drop what is read; read as much again as is left in the buffer, but at least a chunk."""
        if self._at_end:
            return False
        self._consumed += self._position
        rest = self._buffer[self._position :]
        self._buffer, self._position = rest, 0
        self._check_length(len(rest))
        try:
            chunk = self._file.read(max(_CHUNK_CHARACTERS, len(rest)))
        except UnicodeDecodeError as error:
            raise self._error(str(error)) from error
        self._buffer, self._position, self._at_end, self._tried = rest + chunk, 0, not chunk, False
        return not self._at_end

    def _check_length(self, length: int) -> None:
        if length > _CHUNK_CHARACTERS and length > (limit := JSON_VALUE.value()):
            raise self._error(f"a value is longer than {limit:,} characters", JSON_VALUE.way_out())

    def _error(self, what: str, way_out: str = "download or write it again") -> AnnotationError:
        position = f"{what}, after {self._consumed + self._position:,} characters"
        return AnnotationError(f"{self._source_name}: not a COCO JSON file ({position}); {way_out}")
