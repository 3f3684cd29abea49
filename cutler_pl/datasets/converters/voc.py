"""VOC's XML: Pascal VOC 2007, and Clipart, Watercolor and Comic in its form.

Corners are integers counted from 1 and belong to the object, so the box reaches from `xmin - 1` to `xmax`. The name
of the XML file tells the photo: Watercolor's <filename> has no ending, Clipart and Comic come without <folder>.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from cutler_pl.datasets.converters.photos import ImageFolder
from cutler_pl.datasets.converters.records import Marked, Photo, Record, Skipped, box_of
from cutler_pl.errors import DatasetNotFoundError

DIFFICULT = "marked difficult"
ALL = "all"


def read_voc(
    folder: Path, *, splits: Sequence[str], photos: Path | None, prefix: str, marked: Marked
) -> Iterator[Record]:
    """Read the images of split lists.

    Args:
        folder: Folder with `Annotations` and `ImageSets/Main`.
        splits: Names of lists in `ImageSets/Main`, or "all" for every annotation file.
        photos: Folder of the photos; sizes are those of the XML where it is None.
        prefix: What comes before the photo's name in the file name.
        marked: What becomes of objects marked `<difficult>`.

    Raises:
        DatasetNotFoundError: A list is missing.
    """
    found = ImageFolder(photos)
    seen: set[str] = set()
    for stem, place in _stems(folder, splits):
        if stem in seen:
            yield Skipped("image", "named in more than one list", f"{place}: {stem}", fault=False)
            continue
        seen.add(stem)
        yield from _image(folder / "Annotations" / f"{stem}.xml", len(seen), found, prefix, marked)


def _stems(folder: Path, splits: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for split in splits:
        if split == ALL:
            yield from ((path.stem, path.parent) for path in sorted((folder / "Annotations").glob("*.xml")))
            continue
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            raise DatasetNotFoundError(
                f"{path}: no such list; unpack the part of the download that holds it, or choose lists by "
                "'splits=[trainval]', or every annotation file by 'splits=[all]'"
            )
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            if line.strip():
                yield line.split()[0], path


def _image(path: Path, number: int, photos: ImageFolder, prefix: str, marked: Marked) -> Iterator[Record]:
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        yield Skipped("image", "no annotation file", str(path))
        return
    except (ET.ParseError, UnicodeDecodeError, LookupError, ValueError) as error:
        yield Skipped("image", "annotation file is not XML", f"{path}: {error}")
        return
    if root.tag != "annotation":
        yield Skipped("image", "annotation file of another form", f"{path}: <{root.tag}> instead of <annotation>")
        return
    photo = _photo(root, path, number, photos, prefix)
    yield photo
    if isinstance(photo, Photo):
        for place, element in enumerate(root.findall("object"), start=1):
            yield _object(element, photo, f"{path}, object {place}", marked)


def _photo(root: ET.Element, path: Path, number: int, photos: ImageFolder, prefix: str) -> Photo | Skipped:
    name = photos.name_of(path.stem)
    if name is None:
        return Skipped("image", "photo missing", f"{path}: no photo {path.stem}.* in {photos.folder}")
    size = photos.size_of(name)
    if isinstance(size, str):
        return Skipped("image", "photo not readable", size)
    try:
        told = (int(_text(root, "size/height")), int(_text(root, "size/width")))
    except ValueError:
        told = (0, 0)
    if size is None and min(told) < 1:
        return Skipped("image", "no image size", f"{path}: <size> is missing or no number")
    if size is not None and min(told) > 0 and size != told:
        return Skipped("image", "image size mismatch", f"{path}: says {told}, the photo has {size} (height, width)")
    return Photo(number, prefix + name, *(size or told))


def _object(element: ET.Element, photo: Photo, item: str, marked: Marked) -> Record:
    try:
        x0, y0, x1, y1 = (float(_text(element, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError as error:
        return Skipped("object", "box is not four numbers", f"{item}: {error}")
    difficult = element.findtext("difficult", "0").strip() == "1"
    return box_of(photo, (x0 - 1, y0 - 1, x1, y1), marked=marked if difficult else None, reason=DIFFICULT, item=item)


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{path}> is missing")
    return text
