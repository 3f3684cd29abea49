"""LVIS v1 and v0.5: COCO's images under other names, without crowds.

The end of `coco_url` is the path below COCO's folder (`val2017/000000266409.jpg`; LVIS' val holds images of COCO's
train2017 too). "Cocofied" in the name of the original's file may mean COCO's form, or COCO's 80 categories alone, as
detectron2's program of that name makes it: both can be made here.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cutler_pl.coco.file_names import file_name
from cutler_pl.coco.json_text import read_json_file
from cutler_pl.datasets.converters.coco_json import Selection, read_categories
from cutler_pl.errors import AnnotationError, DatasetNotFoundError


def lvis_selection(source: Path, synsets: Path | None) -> Selection:
    """Records of an LVIS file whose categories are in `synsets`, lvis-api's `coco_to_synset.json`; all where None.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: A file is of another form.
    """
    return Selection(categories=None if synsets is None else _categories(source, synsets), name_of=_name)


def _name(image: Mapping[str, Any]) -> str:
    by_address = file_name({"coco_url": image.get("coco_url")})
    return "/".join(PurePosixPath(by_address).parts[-2:]) if by_address else str(image["file_name"])


def _categories(source: Path, synsets: Path) -> frozenset[int]:
    if not synsets.is_file():
        raise DatasetNotFoundError(f"{synsets}: no such file; give synsets=<coco_to_synset.json of lvis-api>")
    content = read_json_file(synsets, way_out="give synsets=<coco_to_synset.json of lvis-api>")
    try:
        wanted = {entry["synset"] for entry in content.values()}
    except (AttributeError, TypeError, KeyError) as error:
        raise AnnotationError(
            f"{synsets}: not the coco_to_synset.json of lvis-api ({type(error).__name__}: {error})"
        ) from error
    return frozenset(record["id"] for record in read_categories(source) if str(record.get("synset")) in wanted)
