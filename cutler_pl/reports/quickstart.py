"""The page of the quickstart: what was found, beside the truth, in pictures, curves and one table of numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from cutler_pl.coco import rle
from cutler_pl.evaluation import IouType, evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut
from cutler_pl.reports.html_report import Page, Picture, Row, Section, Table, write_page
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.reproducibility import run_metadata
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.curves import plot_curves, read_metrics, save_figure, select_curves
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)

MIN_SCORE = 0.5
"""Detections below it are not drawn (they are measured)."""
COLUMNS = ("photo", "eigenvector", "pseudo-masks", "detector", "after self-training", "ground truth")
NOTICE = (
    "These masks come from colour and texture alone (`patch_descriptors`), so that the quickstart needs no download. "
    "They group regions; they do not know objects. Real use takes DINO features: `maskcut=dino_vitb8`."
)


@dataclass(frozen=True)
class Found:
    """Masks and scores by file name."""

    masks: Mapping[str, Bool[np.ndarray, "boxes height width"]]
    scores: Mapping[str, Float[np.ndarray, " boxes"]]


def write_quickstart_page(output: str | Path, *, seed: int, scenes: int = 8, photos: int = 9) -> None:
    """Measure and draw what the stages below `<output>/stages` left; write `<output>/index.html` and `results.json`.

    Args:
        output: Folder of the recipe.
        seed: Seed of the run, for the record.
        scenes: Test scenes that are shown.
        photos: Photos that are shown.
    """
    output = Path(output)
    stages = output / "stages"
    test, train = stages / "1_data" / "test", stages / "1_data" / "train"
    truth = json.loads((test / "annotations.json").read_text())

    results = _measure(truth, stages)
    write_json(output / "results.json", results, indent=2)
    for name, measures in results.items():
        log.info("%-28s AP50 box %5.1f mask %5.1f   AR100 box %5.1f mask %5.1f", name, *_numbers(measures))

    detections = [
        _by_name(_read(stages / f"{n}" / "images.json"), _read(stages / n / "predictions.json"))
        for n in ("5_predict", "8_predict_round_1")
    ]
    pseudo = _read(stages / "4_maskcut_test" / "annotations.json")
    columns = [_by_name(pseudo, pseudo["annotations"]), *detections, _by_name(truth, truth["annotations"])]
    names = sorted(record["file_name"] for record in truth["images"])
    shown = [_panels(test / "images", name, columns) for name in names[:: max(1, len(names) // scenes)][:scenes]]

    pseudo = _read(stages / "2_maskcut" / "annotations.json")
    merged = _read(stages / "6_self_train" / "annotations.json")
    columns = [_by_name(pseudo, pseudo["annotations"]), _by_name(merged, merged["annotations"])]
    names = sorted(r["file_name"] for r in pseudo["images"] if r["file_name"].startswith("images/"))
    real = [_panels(train, name, columns) for name in names[:: max(1, len(names) // photos)][:photos]]

    save_image(output / "overview.jpg", _overview(shown[:4]), max_side=1600)
    page = Page(
        title="CutLER quickstart",
        intro=(
            "A detector learned from pictures that nobody labelled. MaskCut cut the patch graph of each training "
            "picture into pseudo-masks; a small Cascade Mask R-CNN learned from them with DropLoss and copy-paste; "
            "its confident predictions then replaced and completed the masks for one round of self-training.",
        ),
        notice=NOTICE,
        sections=(
            Section(
                "Better than its teacher?",
                text=(
                    f"Measured on {len(truth['images'])} generated scenes that nobody trained on, against their exact "
                    f"ground truth ({len(truth['annotations'])} objects), class-agnostic, in percent.",
                ),
                blocks=(_table(results),),
            ),
            Section("Test scenes", text=(_captions(),), blocks=tuple(_row(COLUMNS, p) for p in shown)),
            Section(
                "Photos",
                text=(
                    "The photos the detector also learned from. They have no ground truth here: look for yourself. "
                    "The last picture shows the annotations of the self-training round, in which confident "
                    "predictions of the detector have replaced what they overlap.",
                ),
                blocks=tuple(_row((*COLUMNS[:3], "annotations of the next round"), p) for p in real),
            ),
            Section("Loss curves", blocks=tuple(_curves(output, stages))),
        ),
        commands=tuple(c for s in sorted(stages.iterdir()) if (c := _command(s)) is not None),
        metadata=run_metadata(seed),
    )
    write_page(output / "index.html", page)


def _measure(truth: dict[str, Any], stages: Path) -> dict[str, dict[IouType, dict[str, float]]]:
    """AP and AR of the pseudo-masks and of both detectors on the test scenes."""
    pseudo = _read(stages / "4_maskcut_test" / "annotations.json")
    candidates = {
        "pseudo-masks": (pseudo, pseudo["annotations"]),
        "detector": _results(stages / "5_predict"),
        "detector, self-trained": _results(stages / "8_predict_round_1"),
    }
    ids = {record["file_name"]: record["id"] for record in truth["images"]}
    measured = {}
    for name, (images, found) in candidates.items():
        names = {record["id"]: record["file_name"] for record in images["images"]}
        moved = [{"score": 1.0, **f, "image_id": ids[names[f["image_id"]]], "category_id": 1} for f in found]
        measured[name] = evaluate_coco(truth, moved)
    return measured


def _results(stage: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return _read(stage / "images.json"), _read(stage / "predictions.json")


def _numbers(measures: Mapping[IouType, Mapping[str, float]]) -> list[float]:
    kinds: tuple[IouType, ...] = ("bbox", "segm")
    return [measures[kind][measure] for measure in ("AP50", "AR100") for kind in kinds]


def _table(results: Mapping[str, Mapping[IouType, Mapping[str, float]]]) -> Table:
    return Table(
        columns=("", "box AP50", "mask AP50", "box AR100", "mask AR100"),
        rows=[(name, *_numbers(measures)) for name, measures in results.items()],
        caption="AP50 and AR100 in percent; pseudo-masks have no scores, so all of them count 1.",
        best="highest",
    )


def _captions() -> str:
    return (
        "From left to right: the photo; the eigenvector of the first cut, red on the object's side; the pseudo-masks; "
        f"the detector and the self-trained detector, detections scoring at least {MIN_SCORE}; the ground truth."
    )


def _by_name(images: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Found:
    """Group records by the file name of their image; those that score too little to be drawn are left out."""
    groups: dict[int, list[Mapping[str, Any]]] = {record["id"]: [] for record in images["images"]}
    for record in found:
        if record.get("score", 1.0) >= MIN_SCORE:
            groups[record["image_id"]].append(record)
    masks, scores = {}, {}
    for image in images["images"]:
        chosen = groups[image["id"]]
        decoded = [rle.decode(record["segmentation"]) for record in chosen]
        masks[image["file_name"]] = np.array(decoded, dtype=bool).reshape(-1, image["height"], image["width"])
        scores[image["file_name"]] = np.array([record.get("score", 1.0) for record in chosen], dtype=np.float64)
    return Found(masks, scores)


def _panels(root: Path, name: str, columns: Sequence[Found]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """The photo, its first eigenvector, and its masks by each column."""
    image = read_image(root / name)
    pictures = [image, draw_heatmap(image, _eigenvector(image))]
    return pictures + [draw_instances(image, column.masks[name]) for column in columns]


def _eigenvector(image: UInt8[np.ndarray, "height width 3"], *, side: int = 240) -> Float[np.ndarray, "h w"]:
    """Second eigenvector of the first cut, with the settings of `conf/maskcut/patch_descriptors.yaml`."""
    extractor = build_feature_extractor("patch_descriptors")
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    square = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    cut = maskcut(extractor(square.clamp(0, 1)), MaskCutParams(tau=0.5, num_masks=1))
    return cut.eigenvectors[0, 0].numpy()


def _row(captions: Sequence[str], panels: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Row:
    return Row([Picture(panel, caption=caption) for caption, panel in zip(captions, panels, strict=True)])


def _overview(rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]]) -> UInt8[np.ndarray, "_ _ 3"]:
    strips = [side_by_side(list(row), titles=COLUMNS if i == 0 else None, height=240) for i, row in enumerate(rows)]
    return np.concatenate(strips, axis=0)


def _curves(output: Path, stages: Path) -> list[Picture]:
    pictures = []
    for stage, title in (("3_train", "Training on pseudo-masks"), ("7_train_round_1", "Self-training round")):
        logs = sorted((stages / stage).rglob("metrics.csv"))
        if not logs:  # fewer steps than are between two lines of the log
            continue
        curves = select_curves(read_metrics(logs), "train/loss*")
        path = output / f"loss_{stage}.svg"
        save_figure(path, plot_curves(curves, title=title, y_label="loss"))
        pictures.append(Picture(path, caption=title))
    return pictures


def _command(stage: Path) -> str | None:
    marker = stage / "stage.json"
    command: str | None = json.loads(marker.read_text())["command"] if marker.is_file() else None
    return command


def _read(path: Path) -> Any:
    return json.loads(path.read_text())
