"""From shard files to one COCO file: the same bytes, however many processes made the shards and in whatever order.

Images are sorted by relative path and numbered from 1, and so are their annotations. The original's per-folder JSON
files are merged too; swapped widths and heights are corrected, and annotations whose image record the original lost
(equal base names) are listed.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cutler_pl.coco.failures import write_failures
from cutler_pl.coco.io import load_coco
from cutler_pl.coco.parameters import read_parameters
from cutler_pl.coco.parts import PartFiles, PartWriter, ShardRecord, is_shard_record
from cutler_pl.coco.stream import writing_coco
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.pseudo_masks.shards import KEY, shard_files
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

NOT_PROCESSED = "not processed; the same command again does it"
_HEADER: dict[str, Any] = {
    "licenses": [],
    "categories": [{"id": 1, "name": "fg", "supercategory": "fg"}],
}


@dataclass(frozen=True)
class MergeReport:
    """Counts of a merged file, and what is not in it.

    Attributes:
        images: Image records written.
        annotations: Annotations written.
        without_annotations: Image records without any annotation.
        dropped: Objects found and then rejected, by reason.
        failed: Reason per failed image.
        missing: Images of the input that are in no shard.
        unexpected: Number of images in the shards that are not (or no longer) in the input; left out.
        invalid: Records of the original's files that were left out, one reason each.
    """

    images: int
    annotations: int
    without_annotations: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    unexpected: int = 0
    invalid: Sequence[str] = ()


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
        failures: File for one JSON line per failed or missing image.
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
    failed: dict[str, str] = {}
    unexpected: set[str] = set()

    def is_done(record: dict[str, Any]) -> bool:
        if wanted is not None and record[KEY] not in wanted:
            unexpected.add(record[KEY])
            return False
        if "failure" in record:
            failed[record[KEY]] = record["failure"]
            return False
        return True

    with tempfile.TemporaryDirectory(prefix=".merge-", dir=output.parent) as scratch:
        paths, invalid = _as_shards(files, Path(scratch))
        shards = PartFiles(paths, key=KEY, is_valid=is_shard_record)
        places = shards.index(is_done)
        if shards.num_damaged:
            log.warning("%s: %d damaged lines left out", ", ".join(map(str, sources)), shards.num_damaged)
        failed = {name: failed[name] for name in sorted(failed.keys() - places.keys())}
        missing = sorted((wanted or set()) - places.keys() - failed.keys())
        not_done = {**failed, **dict.fromkeys(missing, NOT_PROCESSED)}
        if missing and not allow_missing:
            if failures is not None and not output.exists():  # else they are those of the file that stays
                write_failures(failures, not_done)
            raise AnnotationError(
                f"{output}: not written, {len(missing)} of {len(wanted or ())} images are in no shard "
                f"({_shown(missing)}); run the same command again to do them, or merge with allow_missing=true"
            )
        records = (cast(ShardRecord, record) for record in shards.read(places.values()))
        annotations, without_annotations, dropped = _write_coco(output, records, finders=_finders(sources))
        if failures is not None:
            write_failures(failures, not_done)
    report = MergeReport(
        images=len(places),
        annotations=annotations,
        without_annotations=without_annotations,
        dropped=dropped,
        failed=failed,
        missing=missing,
        unexpected=len(unexpected),
        invalid=invalid,
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
    invalid: list[str] = []
    for number, path in enumerate(files):
        if path.suffix == ".jsonl":
            shards.append(path)
            continue
        loaded = load_coco(path, on_error="skip")
        invalid += [f"{path.name}: {reason}" for reason in loaded.dropped]
        objects: dict[int, list[Any]] = {image["id"]: [] for image in loaded.coco["images"]}
        for annotation in loaded.coco["annotations"]:
            kept = ("area", "bbox", "segmentation", "score")
            objects[annotation["image_id"]].append({key: annotation[key] for key in kept if key in annotation})  # type: ignore[literal-required]
        shards.append(scratch / f"{number}.jsonl")
        with PartWriter(shards[-1]) as writer:
            for image in loaded.coco["images"]:
                size = {key: image[key] for key in ("height", "width")}
                writer.append([{"file": image["file_name"], **size, "annotations": objects[image["id"]]}])
    return shards, invalid


def _finders(sources: Sequence[str | Path]) -> list[str]:
    """The generators of runs, as far as they are recorded; MaskCut's runs, and the original's, name none."""
    folders = (source for source in map(Path, sources) if source.is_dir())
    return sorted({(read_parameters(folder) or {}).get("generator", "MaskCut") for folder in folders}) or ["MaskCut"]


def _write_coco(
    output: Path, records: Iterable[ShardRecord], *, finders: Sequence[str]
) -> tuple[int, int, dict[str, int]]:
    """Write the file; return the numbers of annotations, of images without any, and of dropped objects by reason."""
    count = empty = 0
    dropped: Counter[str] = Counter()
    info = {"description": f"Class-agnostic pseudo-masks found by {', '.join(finders)}"}
    with writing_coco(output, {"info": info, **_HEADER}) as coco:
        for image_id, record in enumerate(records, start=1):
            size = {"height": record["height"], "width": record["width"]}
            coco.image({"id": image_id, "file_name": record["file"], **size})
            for count, annotation in enumerate(record["annotations"], start=count + 1):  # noqa: B020
                ids = {"id": count, "image_id": image_id, "category_id": 1, "iscrowd": 0}
                coco.annotation({**ids, **annotation, "width": record["width"], "height": record["height"]})
            empty += not record["annotations"]
            dropped.update(record.get("dropped", {}))
    return count, empty, dict(sorted(dropped.items()))


def _shown(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _log_report(output: Path, report: MergeReport) -> None:
    log.info(
        f"{output}: {report.images} images, {report.annotations} annotations, {report.without_annotations} images "
        f"without any; {len(report.failed)} failed, {len(report.missing)} missing, {report.unexpected} not in the input"
    )
    if report.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
        log.info("found and then dropped: %s", reasons)
    if report.missing:
        log.warning("%s: missing are %s", output, _shown(report.missing))
    if report.invalid:
        log.warning("%s: %d records left out: %s", output, len(report.invalid), _shown(report.invalid))
