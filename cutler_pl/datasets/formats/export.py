"""Write the labels of a COCO file, or of predictions, in the format of a tool."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cutler_pl.coco.validation import OnError
from cutler_pl.datasets.formats import coco, cvat, fiftyone, labelme, labelstudio, yolo
from cutler_pl.datasets.formats.label_file import LabelFile
from cutler_pl.datasets.formats.options import ExportOptions
from cutler_pl.datasets.formats.staging import staged
from cutler_pl.runtime.garbage import paused_gc


class Format(NamedTuple):
    """What writes a format, and the files and folders that it writes; the first is what the tool is given."""

    write: Callable[[LabelFile, Path, ExportOptions], None]
    targets: tuple[str, ...]


FORMATS: dict[str, Format] = {
    "coco": Format(coco.write, (coco.FILE,)),
    "yolo": Format(yolo.write, (yolo.DATA, yolo.LABELS, yolo.IMAGES)),
    "cvat": Format(cvat.write, (cvat.FILE, cvat.LABELS, cvat.FUNCTION)),
    "labelstudio": Format(labelstudio.write, (labelstudio.TASKS, labelstudio.CONFIG)),
    "labelme": Format(labelme.write, (labelme.FOLDER,)),
    "fiftyone": Format(fiftyone.write, (fiftyone.LOADER, fiftyone.FILE)),
}
"""By the name of the tool."""


@paused_gc()
def export_labels(
    annotations: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    format: str,  # as the setting
    options: ExportOptions | None = None,
    on_error: OnError = "raise",
    overwrite: bool = False,
) -> Path:
    """Write labels for a tool; `output` is changed only when all is written.

    Args:
        annotations: COCO annotations, or the results of `cutler predict`, with its `images.json` beside them.
        images: Folder that the file names are relative to.
        output: Folder to write.
        format: One of `FORMATS`.
        options: Choices within the format.
        on_error: What is done about records that do not fit.
        overwrite: Replace what is there.

    Returns:
        The file or folder that the tool is given.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: The file is not COCO, or something in it cannot be written.
        ImageReadError: An image is missing, or cannot be read.
        ConfigError: The output is there already.
        OutputWriteError: There is no space or no permission.
    """
    chosen, options = FORMATS[format], options or ExportOptions()
    annotations, images, output = Path(annotations), Path(images), Path(output)
    targets = chosen.targets
    if images.resolve() == (output / yolo.IMAGES).resolve():  # in place
        targets = tuple(name for name in targets if name != yolo.IMAGES)
        options = options.without_images()
    inputs = {"annotations": annotations, "images": images}
    with (
        staged(output, targets, inputs=inputs, overwrite=overwrite) as folder,
        LabelFile(annotations, images, temporary=folder, on_error=on_error) as labels,
    ):
        labels.check()
        chosen.write(labels, folder, options)
        labels.report(f"{output / targets[0]}")
    return output / targets[0]
