"""LVIS v1 and v0.5: COCO's images under other names, without crowds.

The end of `coco_url` is the path below COCO's folder (`val2017/000000266409.jpg`; LVIS' val holds images of COCO's
train2017 too). "Cocofied" in the name of the original's file may mean COCO's form, or COCO's 80 categories alone, as
detectron2's program of that name makes it: both can be made here.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

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
    address = image.get("coco_url")
    if not isinstance(address, str) or not address:
        return str(image["file_name"])
    return "/".join(PurePosixPath(urlsplit(address).path).parts[-2:])


def _categories(source: Path, synsets: Path) -> frozenset[int]:
    if not synsets.is_file():
        raise DatasetNotFoundError(f"{synsets}: no such file; give synsets=<coco_to_synset.json of lvis-api>")
    try:
        wanted = {entry["synset"] for entry in json.loads(synsets.read_text(encoding="utf-8")).values()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise AnnotationError(
            f"{synsets}: not the coco_to_synset.json of lvis-api ({type(error).__name__}: {error})"
        ) from error
    return frozenset(record["id"] for record in read_categories(source) if record.get("synset") in wanted)
