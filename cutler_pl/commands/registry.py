"""The commands of `cutler`, grouped as its help shows them."""

from typing import NamedTuple


class Command(NamedTuple):
    """A line of the help."""

    group: str
    summary: str


_MASKS, _DETECTORS, _DATA, _WEIGHTS, _ABOUT = "Pseudo-masks", "Detectors", "Datasets", "Weights", "This program"
COMMANDS = {
    "quickstart": Command(_MASKS, "the whole method on generated scenes: masks, detector, page; no download"),
    "own": Command(_MASKS, "from a folder of your own images to masks, a detector, labels and a page"),
    "maskcut": Command(_MASKS, "pseudo-masks of a folder of images, as COCO JSON"),
    "merge_shards": Command(_MASKS, "one COCO file from the parts of a MaskCut run"),
    "quality": Command(_MASKS, "will MaskCut work here? figures of its masks, a verdict and a page"),
    "calibrate": Command(_MASKS, "τ for your images, chosen with or without labels, as an option of maskcut="),
    "train": Command(_DETECTORS, "train a detector on images and a COCO file"),
    "self_train": Command(_DETECTORS, "the next round's annotations from a detector's predictions"),
    "predict": Command(_DETECTORS, "boxes and masks of images, videos or a camera, as JSON and overlays"),
    "evaluate": Command(_DETECTORS, "AP and AR against ground truth, with tables and a page"),
    "demo": Command(_DETECTORS, "a page in the browser: a detector and MaskCut on images that people upload"),
    "serve": Command(_DETECTORS, "an HTTP API: detections and MaskCut masks of uploaded images as JSON"),
    "export": Command(_DETECTORS, "a detector as one ONNX file"),
    "recipe": Command(_DETECTORS, "several commands in a row, resumable"),
    "prepare_dataset": Command(_DATA, "convert or fetch the annotations of a dataset"),
    "make_coco_splits": Command(_DATA, "K percent of a COCO file, for training with few labels"),
    "discover": Command(_DATA, "classes from masks without labels: clusters, a page, names, a COCO file"),
    "export_labels": Command(_DATA, "annotations in the format of a tool to label with: CVAT, YOLO, …"),
    "weights": Command(_WEIGHTS, "weights: list the released ones, download=<name>, or upload=<run> to the hub"),
    "convert_checkpoint": Command(_WEIGHTS, "weights from one tool's format into another's"),
    "doctor": Command(_ABOUT, "what this machine and installation can do"),
    "completion": Command(_ABOUT, "completion for the shell: cutler completion bash|zsh|fish"),
}
