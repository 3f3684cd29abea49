"""Confidence maps: how far each part of an annotation's mask can be trusted, on a coarse grid beside the mask.

The key `confidence_map` of an annotation is an object of

- `size`: `[rows, columns]` of the grid,
- `bbox`: `[x, y, width, height]` of the grid in pixels of the image; outside of it the confidence is 1,
- `values`: the base64 text of the zlib stream of rows × columns bytes, row by row, 0 to 255 for 0 to 1; numbers from 0
  to 1 in a list of rows are read as well.

A mask without the key counts 1 everywhere. Other tools for COCO files pass over it.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cutler_pl.coco.bounds import MAX_COORDINATE
from cutler_pl.coco.json_text import kind, shown

CERTAIN = 255
"""The value of a confidence of 1, which is kept in 8 bits."""
MAX_CELLS = 1 << 20
_HEADER = struct.Struct("<2I4d")  # size, bbox


class ConfidenceMap(NamedTuple):
    """Confidence on a grid over a part of an image; 1 outside of it."""

    values: UInt8[np.ndarray, "rows columns"]
    """0 to 255 for a confidence from 0 to 1."""
    bbox: tuple[float, float, float, float]
    """x, y, width and height of the grid in pixels of the image."""


def crop_map(
    values: UInt8[np.ndarray, "rows columns"], bbox: tuple[float, float, float, float]
) -> ConfidenceMap | None:
    """The part of a map that is not certain everywhere; None where there is none."""
    rows, columns = (np.flatnonzero((values < CERTAIN).any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    (x, y, width, height), (h, w) = bbox, values.shape
    part = (x + left * width / w, y + top * height / h, (right - left) * width / w, (bottom - top) * height / h)
    return ConfidenceMap(values[top:bottom, left:right], part)


def encode(confidence: ConfidenceMap) -> dict[str, Any]:
    """A map as the annotation's key holds it."""
    values = np.ascontiguousarray(confidence.values)
    text = base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")
    return {"size": [*values.shape], "bbox": [round(v, 2) for v in confidence.bbox], "values": text}


def decode(record: Mapping[str, Any]) -> ConfidenceMap:
    """The map of a checked record, see `confidence_error`."""
    rows, columns = record["size"]
    values = record["values"]
    if isinstance(values, str):
        cells = np.frombuffer(zlib.decompress(base64.b64decode(values)), np.uint8).reshape(rows, columns)
    else:
        cells = quantize(np.array(values, dtype=np.float64))
    x, y, width, height = map(float, record["bbox"])
    return ConfidenceMap(cells, (x, y, width, height))


def quantize(confidence: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Numbers from 0 to 1 as bytes."""
    cells: np.ndarray = np.rint(confidence * CERTAIN).astype(np.uint8)
    return cells


def pack(record: Mapping[str, Any]) -> bytes:
    """A checked record as bytes of the index."""
    values, bbox = decode(record)
    return _HEADER.pack(*values.shape, *bbox) + zlib.compress(values.tobytes())


def unpack(data: bytes) -> ConfidenceMap:
    """The map of which `pack` made these bytes.

    Raises:
        ValueError: The bytes are damaged.
    """
    try:
        rows, columns, *bbox = _HEADER.unpack_from(data)
        values = np.frombuffer(zlib.decompress(data[_HEADER.size :]), np.uint8).reshape(rows, columns)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"a confidence map is damaged ({error})") from error
    x, y, width, height = bbox
    return ConfidenceMap(values, (x, y, width, height))


def confidence_error(record: Any) -> str | None:
    """Error in the form of a confidence map, as the end of a sentence about its annotation."""
    if not isinstance(record, Mapping):
        return f"has a confidence_map that is {kind(record)}, not an object of size, bbox and values"
    size, bbox, values = record.get("size"), record.get("bbox"), record.get("values")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        return f"has a confidence_map of the size {shown(size)}, not [rows, columns]"
    rows, columns = size
    if rows * columns > MAX_CELLS:
        return f"has a confidence_map of {rows}×{columns} cells (rows×columns); {MAX_CELLS:,} is the most"
    if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not all(map(_is_coordinate, bbox)) or min(bbox[2:]) <= 0:
        return f"has a confidence_map of the box {shown(bbox)}, not [x, y, width, height] with an area"
    return _text_error(values, rows, columns) if isinstance(values, str) else _rows_error(values, rows, columns)


def _text_error(values: str, rows: int, columns: int) -> str | None:
    try:
        stream = zlib.decompressobj()
        cells = stream.decompress(base64.b64decode(values, validate=True), rows * columns + 1)
    except (binascii.Error, zlib.error, ValueError):
        return "has a confidence_map whose values are not base64 text of a zlib stream"
    if len(cells) != rows * columns or not stream.eof:
        return f"has a confidence_map whose values do not fill its size {rows}×{columns} (rows×columns)"
    return None


def _rows_error(values: Any, rows: int, columns: int) -> str | None:
    if not isinstance(values, list | tuple):
        return f"has a confidence_map whose values are {kind(values)}, neither text nor rows of numbers"
    if len(values) != rows or not all(isinstance(row, list | tuple) and len(row) == columns for row in values):
        return f"has a confidence_map whose values do not fill its size {rows}×{columns} (rows×columns)"
    for value in (value for row in values for value in row):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
            return f"has a confidence_map with {shown(value)}, not a number from 0 to 1"
    return None


def _is_coordinate(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and isfinite(value) and -MAX_COORDINATE <= float(value) <= MAX_COORDINATE
