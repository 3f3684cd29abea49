"""Build the index of a COCO file in one pass; memory is a few numbers per annotation.

Annotations are read in batches, checked, and appended to two temporary files: rows of equal size, and encoded masks.
What depends on all of them (swapped sizes, categories, the order by image) follows on one column of the rows at a time.
"""

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from jaxtyping import Bool, Float64, Int64

from cutler_pl.coco import confidence, rle, validation
from cutler_pl.coco.bounds import MAX_COORDINATE, Bounds
from cutler_pl.coco.file_names import may_lead_out
from cutler_pl.coco.packed_masks import POLYGONS, decode_segmentation, encode_segmentation
from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.coco.records import fill_defaults, swapped_sizes, with_file_name
from cutler_pl.coco.schema import Image
from cutler_pl.coco.stream import images_first
from cutler_pl.coco.validation import InvalidRecords
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.limits import OUTLINE
from cutler_pl.runtime.logging import get_logger

METADATA_FILE = "facts.json"
CHECK_NAMES = "check_names"
"""Key of the metadata where a file name may lead out of the image folder."""

_KEYS = {"ids": "id", "boxes_xywh": "bbox", "areas": "area", "category_ids": "category_id", "is_crowd": "iscrowd"}
_COLUMNS = ("boxes_xywh", "areas", "category_ids", "is_crowd", "scores", "mask_kinds")
_ROW = np.dtype(
    [
        ("boxes_xywh", np.float64, 4), ("areas", np.float64), ("category_ids", np.int64), ("is_crowd", np.bool_),
        ("scores", np.float32),
        ("mask_kinds", np.uint8), ("mask_length", np.int64), ("mask_size_hw", np.int32, 2), ("has_area", np.bool_),
        ("confidence_length", np.int64),
        ("ids", np.int64), ("images", np.int32),
    ]
)  # fmt: skip
_CHUNK = 1 << 14
_ROWS = 1 << 18

_log = get_logger(__name__)


def write_index(path: Path, folder: Path) -> None:
    """Write the arrays of a COCO file into an empty folder.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, not COCO, or holds an invalid record.
    """
    invalid = InvalidRecords(str(path), "raise", "repair or remove it")
    images, categories = _Images(invalid), dict[int, str]()
    rows_file, masks_file, maps_file = folder / "rows.tmp", folder / "masks.tmp", folder / "maps.tmp"
    with rows_file.open("wb") as rows, masks_file.open("wb") as masks, maps_file.open("wb") as maps:
        for key, batch in images_first(path):
            if key == "images":
                images.add(batch)
            elif key == "categories":
                for record in batch:
                    if (error := validation.category_error(record)) or record["id"] in categories:
                        invalid.add(error or f"category id {record['id']} occurs more than once")
                    categories[record["id"]] = record["name"]
            elif key == "annotations" and batch:
                _append(batch, images, invalid, rows, masks, maps)
    table = _Table(rows_file)
    with masks_file.open("rb", buffering=0) as masks, maps_file.open("rb", buffering=0) as maps:
        order = _finish(table, images, categories, invalid, masks)
        _save_columns(folder, table, order, len(images.names))
        _save_packed(folder, "mask", table["mask_length"], order, masks)
        lengths = table["confidence_length"]
        with_map = np.flatnonzero(lengths[order])
        _save(folder / "confidence_objects.npy", with_map.astype(np.int64))
        _save_packed(folder, "confidence", lengths, order[with_map], maps)
    names = PackedStrings.pack(images.names)
    columns = {"image_ids": images.ids, "sizes_hw": images.sizes_hw, "names": names.data, "name_offsets": names.offsets}
    for name, column in columns.items():
        _save(folder / f"{name}.npy", column)
    num_dropped = len(table) - len(order)
    metadata = {"categories": sorted(categories.items()), "num_dropped": num_dropped}
    if any(map(may_lead_out, images.names)):
        metadata[CHECK_NAMES] = True
    write_json(folder / METADATA_FILE, metadata)
    for file in (rows_file, masks_file, maps_file):
        file.unlink()
    counts = len(images.names), len(order), num_dropped
    _log.info("%s: indexed %d images and %d annotations, left out %d without area", path, *counts)


class _Table:
    """The rows of a file, by column."""

    def __init__(self, path: Path) -> None:
        self._path, self._length = path, path.stat().st_size // _ROW.itemsize

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> np.ndarray:
        field = _ROW[name]
        column = np.empty((len(self), *field.shape), field.base)
        with self._path.open("rb") as file:
            for start in range(0, len(self), _ROWS):
                column[start : start + _ROWS] = np.fromfile(file, _ROW, _ROWS)[name]
        return column


class _Images:
    """Columns of the image records, and their positions by id."""

    def __init__(self, invalid: InvalidRecords) -> None:
        self._invalid = invalid
        self._ids, self._sizes = array("q"), array("q")
        self.names: list[str] = []
        self._frozen = False

    def add(self, records: Iterable[Any]) -> None:
        for record in records:
            if error := validation.image_error(record):
                self._invalid.add(error)
            self._ids.append(record["id"])
            self._sizes.extend((record["height"], record["width"]))
            self.names.append(with_file_name(record)["file_name"])

    def freeze(self) -> None:
        """Build the arrays once all images are added."""
        if self._frozen:
            return
        self._frozen = True
        self.ids = np.array(self._ids, dtype=np.int64)
        self.sizes_hw = np.array(self._sizes, dtype=np.int64).reshape(-1, 2)
        self._order = np.argsort(self.ids, kind="stable")
        self._sorted = self.ids[self._order]
        for number in self._sorted[1:][np.diff(self._sorted) == 0].tolist():
            self._invalid.add(f"image id {number} occurs more than once")

    def positions(self, records: list[Any]) -> Int64[np.ndarray, " records"]:
        """Position of the image of each annotation."""
        wanted = np.array([record["image_id"] for record in records], dtype=np.int64)
        found = np.minimum(np.searchsorted(self._sorted, wanted), max(len(self._sorted) - 1, 0))
        known = self._sorted[found] == wanted if len(self._sorted) else np.zeros(len(wanted), dtype=bool)
        for i in np.flatnonzero(~known).tolist():
            self._invalid.add(f"annotation {records[i]['id']} is for the unknown image {records[i]['image_id']}")
        return self._order[found]


def _append(
    batch: list[Any], images: _Images, invalid: InvalidRecords, rows: BinaryIO, masks: BinaryIO, maps: BinaryIO
) -> None:
    """Check annotations and append them to the temporary files."""
    for record in batch:
        if error := validation.annotation_error(record):
            invalid.add(error)
    validation.with_valid_rles(batch, invalid, validation.annotation_label)
    images.freeze()
    positions = images.positions(batch)
    sizes = images.sizes_hw[positions].tolist()
    segmentations = [record.get("segmentation") for record in batch]
    encoded = [encode_segmentation(segmentation) for segmentation in segmentations]
    boxes = np.array([record["bbox"] for record in batch], dtype=np.float64).reshape(-1, 4)
    bounds = Bounds.current()
    for i in np.flatnonzero(~_surely_near(boxes, encoded, images.sizes_hw[positions], bounds)).tolist():
        batch[i] = _if_near(batch[i], cast(Image, {"height": sizes[i][0], "width": sizes[i][1]}), bounds, invalid)
        segmentations[i] = batch[i].get("segmentation")
        encoded[i] = encode_segmentation(segmentations[i])
    pairs = zip(batch, sizes, strict=True)
    whole = [fill_defaults(record, cast(Image, {"height": h, "width": w})) for record, (h, w) in pairs]
    masks.writelines(data for _, data in encoded)
    confidences = [confidence.pack(record["confidence_map"]) if "confidence_map" in record else b"" for record in batch]
    maps.writelines(confidences)
    table = np.zeros(len(batch), _ROW)
    for column, key in _KEYS.items():
        table[column] = [record[key] for record in whole]
    table["scores"] = [record.get("score", 1.0) for record in batch]
    table["images"] = positions
    table["mask_kinds"] = [kind for kind, _ in encoded]
    table["mask_length"] = [len(data) for _, data in encoded]
    table["confidence_length"] = [len(data) for data in confidences]
    table["mask_size_hw"] = [validation.mask_size(record) or (0, 0) for record in whole]
    table["has_area"] = rle.have_pixels(segmentations, sizes, are_bounded=True)
    rows.write(table.tobytes())  # `tofile` loses what does not fit on a full disk, without an error


def _surely_near(
    boxes: Float64[np.ndarray, "records 4"],
    encoded: list[tuple[int, bytes]],
    sizes_hw: Int64[np.ndarray, "records 2"],
    bounds: Bounds,
) -> Bool[np.ndarray, " records"]:
    """Which records are within the bounds, by numbers of the whole batch; some that are may be missed."""
    longer = sizes_hw.max(1, initial=1)
    low, high = boxes[:, :2].min(1, initial=np.inf), (boxes[:, :2] + boxes[:, 2:]).max(1, initial=-np.inf)
    polygons = np.array([i for i, (kind, data) in enumerate(encoded) if kind == POLYGONS and data], dtype=np.int64)
    outline = np.zeros(len(boxes))
    if len(polygons):
        numbers = np.frombuffer(b"".join(encoded[i][1] for i in polygons.tolist()), dtype=np.float64)
        counts = np.array([len(encoded[i][1]) // 8 for i in polygons.tolist()])
        starts = np.cumsum(counts) - counts  # the numbers of polygons and coordinates come first, and widen the range
        least, most = np.minimum.reduceat(numbers, starts), np.maximum.reduceat(numbers, starts)
        outline[polygons] = counts * (most - least)
        low[polygons], high[polygons] = np.minimum(low[polygons], least), np.maximum(high[polygons], most)
    most_outline = np.minimum(bounds.outline or OUTLINE.default, sizes_hw.prod(1))
    near: np.ndarray = (low >= -bounds.reach * longer) & (high <= (bounds.reach + 1) * longer)
    near &= (np.maximum(-low, high) < MAX_COORDINATE) & (outline <= most_outline)
    return near


def _if_near(record: dict[str, Any], image: Image, bounds: Bounds, invalid: InvalidRecords) -> dict[str, Any]:
    """Annotation within the bounds; one far outside its image has no mask, and no area, for which it is left out."""
    if error := validation.far_from_image(record, image, bounds):
        longer_side = max(image["height"], image["width"])
        if not validation.is_empty(record, cast(Image, {"height": longer_side, "width": longer_side})):
            invalid.add(f"{validation.annotation_label(record)} {error}")
        record = {**record, "segmentation": None}
    return record


def _finish(
    table: _Table, images: _Images, categories: dict[int, str], invalid: InvalidRecords, masks: BinaryIO
) -> Int64[np.ndarray, " kept"]:
    """Check what depends on the whole file and swap sizes; the rows with area, ordered by image."""
    images.freeze()
    ids = table["ids"]
    ordered = np.sort(ids)
    for number in ordered[1:][np.diff(ordered) == 0].tolist():
        invalid.add(f"annotation id {number} occurs more than once")
    category_ids = table["category_ids"]
    for i in np.flatnonzero(~np.isin(category_ids, list(categories))).tolist():
        invalid.add(f"annotation {ids[i]} has the unknown category {category_ids[i]}")
    owners, mask_sizes = table["images"], table["mask_size_hw"]
    swapped = swapped_sizes(images.sizes_hw, owners, mask_sizes)
    images.sizes_hw[swapped] = images.sizes_hw[swapped][:, ::-1]
    sizes = images.sizes_hw[owners]
    for i in np.flatnonzero((mask_sizes[:, 0] > 0) & (mask_sizes != sizes).any(axis=1)).tolist():
        image = cast(Image, {"id": int(images.ids[owners[i]]), "height": sizes[i, 0], "width": sizes[i, 1]})
        error = validation.mask_size_mismatch({"segmentation": {"size": mask_sizes[i].tolist()}}, image)
        invalid.add(f"annotation {ids[i]} (image {image['id']}) {error}")
    kept, kinds, lengths = table["has_area"], table["mask_kinds"], table["mask_length"]
    ends = np.cumsum(lengths)
    for i in np.flatnonzero(swapped[owners] & (kinds == POLYGONS)).tolist():  # rasterised at the wrong size before
        length, size_hw = int(lengths[i]), sizes[i].tolist()
        masks.seek(int(ends[i]) - length)
        kept[i] = rle.have_pixels([decode_segmentation(POLYGONS, masks.read(length), *size_hw)], [size_hw])[0]
    x, y, width, height = table["boxes_xywh"].T
    kept &= validation.has_area_inside(x, y, width, height, {"height": sizes[:, 0], "width": sizes[:, 1]})
    order = np.flatnonzero(kept)
    return order[np.argsort(owners[order], kind="stable")]


def _save_columns(folder: Path, table: _Table, order: Int64[np.ndarray, " kept"], num_images: int) -> None:
    for name in _COLUMNS:
        column = table[name]
        with (folder / f"{name}.npy").open("wb") as file:
            _write_header(file, column.dtype, (len(order), *column.shape[1:]))
            for start in range(0, len(order), _CHUNK):
                file.write(np.ascontiguousarray(column[order[start : start + _CHUNK]]).tobytes())
    offsets = np.searchsorted(table["images"][order], np.arange(num_images + 1))
    _save(folder / "object_offsets.npy", offsets.astype(np.int64))


def _save_packed(
    folder: Path, name: str, lengths: Int64[np.ndarray, " rows"], order: Int64[np.ndarray, " kept"], file: BinaryIO
) -> None:
    """Write the bytes of some rows, in this order, and where each begins; `file` holds those of all rows."""
    ends = np.cumsum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    _save(folder / f"{name}_offsets.npy", offsets)
    with (folder / f"{name}_bytes.npy").open("wb") as packed:
        _write_header(packed, np.dtype(np.uint8), (int(offsets[-1]),))
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):  # read together what lies together
                first = int(ends[run[0]] - lengths[run[0]])
                file.seek(first)
                packed.write(file.read(int(ends[run[-1]]) - first))


def _save(path: Path, column: np.ndarray) -> None:
    with path.open("wb") as file:
        _write_header(file, column.dtype, column.shape)
        file.write(np.ascontiguousarray(column).tobytes())


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
