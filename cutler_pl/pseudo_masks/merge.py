"""From shard files to one COCO file: the same bytes, however many processes made the shards and in whatever order.

Images are sorted by relative path and numbered from 1, and so are their annotations. Masks are read again by file
offset when their turn comes, so memory grows with the number of images, not with their masks. The original's
per-folder JSON files are merged too; what they have exchanged (width and height) is put right, what they have lost
(image records of equal base names) is listed.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cutler_pl.coco.io import load_coco
from cutler_pl.coco.stream import list_writer
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.pseudo_masks.shards import ShardRecord, ShardWriter, parse_line, read_shard, shard_files
from cutler_pl.runtime.files import atomic_write, write_text
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

NOT_PROCESSED = "not processed; the same command again does it"
_HEAD: dict[str, Any] = {
    "info": {"description": "Class-agnostic pseudo-masks found by MaskCut"},
    "licenses": [],
    "categories": [{"id": 1, "name": "fg", "supercategory": "fg"}],
}
_OPEN_FILES = 128


@dataclass(frozen=True)
class MergeReport:
    """Counts of a merged file, and what is not in it.

    Attributes:
        images: Image records written.
        annotations: Annotations written.
        without_annotations: Image records without any annotation.
        dropped: Objects that were found and then rejected, by reason.
        failed: Image and reason of each failure.
        missing: Images of the input that no shard speaks of.
        unexpected: Number of images in the shards that are not (or no longer) in the input; left out.
        faults: Records of the original's files that were left out, one reason each.
    """

    images: int
    annotations: int
    without_annotations: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    unexpected: int = 0
    faults: Sequence[str] = ()


class _Place(NamedTuple):
    shard: int
    offset: int
    height: int
    width: int


@dataclass
class _Index:
    """Where the record of each image lies, and what else the shards tell."""

    places: dict[str, _Place] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    unexpected: set[str] = field(default_factory=set)


def merge_shards(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    expected: Sequence[str] | None = None,
    failures: str | Path | None = None,
    allow_missing: bool = False,
) -> MergeReport:
    """Merge shard files, and JSON files of the original, into one COCO file.

    Args:
        sources: Files, or folders of `.jsonl` files, else of `.json` files. Of an image that occurs more than once
            the first record counts, in the order of the sources.
        output: COCO file to write.
        expected: Relative paths of all images that should be there; not checked where not given.
        failures: File for one JSON line a failed or missing image.
        allow_missing: Write the file even if images are missing.

    Raises:
        DatasetNotFoundError: There is nothing to merge.
        AnnotationError: A JSON file is not COCO, or images are missing and that is not allowed.
        OutputWriteError: There is no space left for the output.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    files = _files(sources)
    wanted = None if expected is None else set(expected)
    with tempfile.TemporaryDirectory(prefix=".merge-", dir=output.parent) as scratch:
        shards, faults = _as_shards(files, Path(scratch))
        index = _index(shards, wanted)
        missing = sorted((wanted or set()) - index.places.keys() - index.failed.keys())
        if failures is not None:
            _write_failures(Path(failures), index.failed, missing)
        if missing and not allow_missing:
            raise AnnotationError(
                f"{output}: not written, {len(missing)} of {len(wanted or ())} images are in no shard "
                f"({_some(missing)}); run the same command again to do them, or merge with allow_missing=true"
            )
        annotations, empty = _write_coco(output, index.places, shards)
    report = MergeReport(
        len(index.places),
        annotations,
        empty,
        dict(sorted(index.dropped.items())),
        index.failed,
        missing,
        len(index.unexpected),
        faults,
    )
    _log_report(output, report)
    return report


def _files(sources: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += shard_files(source) or sorted(source.glob("*.json"))
        elif source.is_file():
            found.append(source)
        else:
            raise DatasetNotFoundError(
                f"{source}: no such file or folder; give shard files or the folder that holds them"
            )
    if not found:
        raise DatasetNotFoundError(
            f"{', '.join(map(str, sources))}: no shard files (.jsonl, or .json files of the original) to merge"
        )
    return found


def _as_shards(files: Sequence[Path], scratch: Path) -> tuple[list[Path], list[str]]:
    """Turn each COCO file into a shard file; shard files stay as they are."""
    shards: list[Path] = []
    faults: list[str] = []
    for number, path in enumerate(files):
        if path.suffix == ".jsonl":
            shards.append(path)
            continue
        loaded = load_coco(path, on_error="skip")
        faults += [f"{path.name}: {reason}" for reason in loaded.dropped]
        objects: dict[int, list[Any]] = {image["id"]: [] for image in loaded.coco["images"]}
        for annotation in loaded.coco["annotations"]:
            kept = ("area", "bbox", "segmentation", "score")
            objects[annotation["image_id"]].append({key: annotation[key] for key in kept if key in annotation})  # type: ignore[literal-required]
        shards.append(scratch / f"{number}.jsonl")
        with ShardWriter(shards[-1]) as writer:
            for image in loaded.coco["images"]:
                size = {"height": image["height"], "width": image["width"]}
                record = {"file": image["file_name"], **size, "annotations": objects[image["id"]]}
                writer.append([ShardRecord(**record)])  # type: ignore[typeddict-item]
    return shards, faults


def _index(shards: Sequence[Path], wanted: set[str] | None) -> _Index:
    index = _Index()
    for number, path in enumerate(shards):
        damaged = 0
        for offset, record in read_shard(path):
            if record is None:
                damaged += 1
                continue
            name = record["file"]
            if wanted is not None and name not in wanted:
                index.unexpected.add(name)
            elif "failure" in record:
                index.failed[name] = record["failure"]
            elif name not in index.places:
                index.places[name] = _Place(number, offset, record["height"], record["width"])
                index.dropped.update(record.get("dropped", {}))
        if damaged:
            log.warning("%s: %d damaged lines left out", path, damaged)
    index.places = dict(sorted(index.places.items()))
    index.failed = {name: index.failed[name] for name in sorted(index.failed.keys() - index.places.keys())}
    return index


def _write_coco(output: Path, places: Mapping[str, _Place], shards: Sequence[Path]) -> tuple[int, int]:
    """Write the file; return the numbers of annotations and of images without any."""
    count = empty = 0
    with atomic_write(output) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write(json.dumps(_HEAD, separators=(",", ":"))[:-1] + ',"images":[')
        put = list_writer(file)
        for image_id, (name, place) in enumerate(places.items(), start=1):
            put({"id": image_id, "file_name": name, "height": place.height, "width": place.width})
        file.write('],"annotations":[')
        put = list_writer(file)
        with _Lines(shards) as lines:
            for image_id, place in enumerate(places.values(), start=1):
                objects = lines.read(place).get("annotations", [])
                empty += not objects
                for found in objects:
                    count += 1
                    ids = {"id": count, "image_id": image_id, "category_id": 1, "iscrowd": 0}
                    put({**ids, **found, "width": place.width, "height": place.height})
        file.write("]}\n")
    return count, empty


class _Lines:
    """Reads single lines of many files, few of them open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._open: dict[int, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, place: _Place) -> ShardRecord:
        if place.shard not in self._open:
            if len(self._open) == _OPEN_FILES:
                self._stack.close()
                self._open.clear()
            self._open[place.shard] = self._stack.enter_context(self._paths[place.shard].open("rb"))
        file = self._open[place.shard]
        file.seek(place.offset)
        record = parse_line(file.readline())
        if record is None:
            raise AnnotationError(f"{self._paths[place.shard]}: changed while it was merged; merge again")
        return record


def _write_failures(path: Path, failed: Mapping[str, str], missing: Sequence[str]) -> None:
    reasons = {**failed, **dict.fromkeys(missing, NOT_PROCESSED)}
    lines = [json.dumps({"file": name, "reason": reasons[name]}) + "\n" for name in sorted(reasons)]
    write_text(path, "".join(lines))


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _log_report(output: Path, report: MergeReport) -> None:
    log.info(
        "%s: %d images, %d annotations, %d images without any; %d failed, %d missing, %d not in the input",
        output,
        report.images,
        report.annotations,
        report.without_annotations,
        len(report.failed),
        len(report.missing),
        report.unexpected,
    )
    if report.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.dropped.items()))
        log.info("found and then dropped: %s", reasons)
    if report.missing:
        log.warning("%s: missing are %s", output, _some(report.missing))
    if report.faults:
        log.warning("%s: %d records left out: %s", output, len(report.faults), _some(report.faults))
