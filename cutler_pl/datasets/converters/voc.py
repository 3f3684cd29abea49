"""VOC's XML: Pascal VOC 2007, and Clipart, Watercolor and Comic in its form.

Corners are integers counted from 1 and belong to the object, so the box reaches from `xmin - 1` to `xmax`. The image is
found by the name of the XML file: Watercolor's <filename> has no suffix, Clipart and Comic come without <folder>.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from cutler_pl.datasets.converters.image_folder import ImageFolder
from cutler_pl.datasets.converters.records import ImageRecord, Record, SkippedRecord, Source, box_record
from cutler_pl.errors import DatasetNotFoundError

DIFFICULT = "marked difficult"
ALL = "all"


def read_voc(source: Source, *, splits: Sequence[str]) -> Iterator[Record]:
    """Read the images of split lists; sizes are those of the XML where images are not checked.

    Args:
        source: Its `annotations` are the folder beside `ImageSets/Main`.
        splits: Names of lists in `ImageSets/Main`, or "all" for every annotation file.

    Raises:
        DatasetNotFoundError: A list is missing.
    """
    folder = ImageFolder(source.images)
    seen: set[str] = set()
    for stem, listed_in in _stems(source.annotations, splits):
        if stem in seen:
            yield SkippedRecord("image", "named in more than one list", f"{listed_in}: {stem}", is_error=False)
            continue
        seen.add(stem)
        yield from _read(source.annotations / f"{stem}.xml", len(seen), folder, source)


def _stems(annotations: Path, splits: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for split in splits:
        if split == ALL:
            yield from ((path.stem, path.parent) for path in sorted(annotations.glob("*.xml")))
            continue
        path = annotations.parent / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            raise DatasetNotFoundError(
                f"{path}: no such list; unpack the part of the download that holds it, or choose lists by "
                "'splits=[trainval]', or every annotation file by 'splits=[all]'"
            )
        for line in path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines():
            if line.strip():
                yield line.split()[0], path


def _read(path: Path, number: int, folder: ImageFolder, source: Source) -> Iterator[Record]:
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        yield SkippedRecord("image", "no annotation file", str(path))
        return
    except (ET.ParseError, UnicodeDecodeError, LookupError, ValueError) as error:
        yield SkippedRecord("image", "annotation file is not XML", f"{path}: {error}")
        return
    if root.tag != "annotation":
        yield SkippedRecord("image", "annotation file of another form", f"{path}: <{root.tag}> instead of <annotation>")
        return
    name = folder.find_stem(path.stem)
    size_hw, sought = _size_hw(root), f"{path.stem}.*"
    image = folder.record(number, name, item=str(path), sought=sought, prefix=source.prefix, size_hw=size_hw)
    yield image
    if isinstance(image, ImageRecord):
        for position, element in enumerate(root.findall("object"), start=1):
            yield _object(element, image, f"{path}, object {position}", source)


def _size_hw(root: ET.Element) -> tuple[int, int] | None:
    """Annotated height and width; None where they are missing or no positive numbers."""
    try:
        height, width = int(_text(root, "size/height")), int(_text(root, "size/width"))
    except ValueError:
        return None
    return (height, width) if min(height, width) > 0 else None


def _object(element: ET.Element, image: ImageRecord, item: str, source: Source) -> Record:
    try:
        x0, y0, x1, y1 = (float(_text(element, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError as error:
        return SkippedRecord("object", "box is not four numbers", f"{item}: {error}")
    policy = source.marked if element.findtext("difficult", "0").strip() == "1" else None
    return box_record(image, (x0 - 1, y0 - 1, x1, y1), marked=policy, reason=DIFFICULT, item=item)


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{path}> is missing")
    return text
