"""FiftyOne: a COCO file, and the lines of Python that load it."""

from pathlib import Path

from cutler_pl.datasets.formats import coco
from cutler_pl.datasets.formats.label_file import LabelFile
from cutler_pl.datasets.formats.options import ExportOptions
from cutler_pl.runtime.files import write_text

FILE, LOADER = "fiftyone.json", "load_fiftyone.py"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write `fiftyone.json`, whose boxes are the extents of the masks, since FiftyOne cuts masks to boxes."""
    coco.write_coco(labels, folder / FILE, options, coco.header(labels), tight_boxes=True)
    write_text(folder / LOADER, _loader(labels.folder.resolve(), (folder.parent / FILE).resolve()))


def _loader(images: Path, annotations: Path) -> str:
    return f"""import fiftyone as fo

dataset = fo.Dataset.from_dir(dataset_type=fo.types.COCODetectionDataset, label_types="segmentations",
    data_path={str(images)!r}, labels_path={str(annotations)!r})
if __name__ == "__main__":
    fo.launch_app(dataset).wait()
"""
