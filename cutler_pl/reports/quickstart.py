"""HTML page of the quickstart: figures beside the ground truth, curves and metrics."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, UInt8

from cutler_pl.coco.records import group_by_image
from cutler_pl.evaluation import IouType, evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.curves import plot_curves, read_metrics, save_figure, select_curves
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

MIN_SCORE = 0.5
"""Lowest score of a drawn detection."""
COLUMNS = ("image", "eigenvector", "pseudo-masks", "detector", "after self-training", "ground truth")
TRAINING_COLUMNS = (*COLUMNS[:3], "annotations of the next round")
INTRO = (
    "A detector trained on images without labels. MaskCut cut the patch graph of each training image into "
    "pseudo-masks; a small Cascade Mask R-CNN learned from them with DropLoss and copy-paste; its confident "
    "predictions then replaced and completed the masks for one round of self-training."
)
NOTICE = (
    "These masks come from colour and texture alone (`patch_descriptors`), so that the quickstart needs no download. "
    "They group regions; they do not know objects. Real use takes DINO features: `maskcut=dino_vitb8`."
)
TEST_SCENES = (
    "From left to right: the image; the eigenvector of the first cut, red on the object's side; the pseudo-masks; the "
    f"detector and the self-trained detector, detections scoring at least {MIN_SCORE}; the ground truth."
)
TRAINING_IMAGES = (
    "Images the detector was trained on. They have no ground truth here. The last figure shows the annotations of the "
    "self-training round, in which confident predictions of the detector have replaced what they overlap."
)

ByName = Mapping[str, Sequence[Mapping[str, Any]]]
"""Annotations or results by the file name of their image."""


def write_quickstart_page(
    output: str | Path, stages: Mapping[str, str], *, seed: int, scenes: int = 8, images: int = 9
) -> None:
    """Measure and draw the results of the stages; write `index.html` and `results.json`.

    Args:
        output: Folder of the recipe.
        stages: Folder of each stage of `conf/recipe/quickstart.yaml`.
        scenes: Number of test scenes.
        images: Number of training images.
    """
    output = Path(output)
    folders = {name: Path(folder) for name, folder in stages.items()}
    test = folders["data"] / "test"
    truth = _read(test / "annotations.json")
    found = {"pseudo-masks": _annotations(folders["maskcut_test"])}
    for name, stage in (("detector", folders["predict"]), ("detector, self-trained", folders["predict_round_1"])):
        found[name] = _by_name(_read(stage / "images.json"), _read(stage / "predictions.json"))
    results = {name: _measure(truth, by_name) for name, by_name in found.items()}
    write_json(output / "results.json", results, indent=2)
    for name, metrics in results.items():
        log.info("%-28s AP50 box %5.1f mask %5.1f   AR100 box %5.1f mask %5.1f", name, *_numbers(metrics))

    eigenvector = _eigenvector(folders["maskcut"])
    columns = [*found.values(), _by_name(truth, truth["annotations"])]
    names = sorted(record["file_name"] for record in truth["images"])
    panels = [_panels(test / "images" / name, name, columns, eigenvector) for name in _every_nth(names, scenes)]
    strips = [side_by_side(row, titles=None if place else COLUMNS, height=240) for place, row in enumerate(panels[:4])]
    save_image(output / "overview.jpg", np.concatenate(strips), max_side=1600)

    columns = [_annotations(folders["maskcut"]), _annotations(folders["self_train"])]
    names = sorted(name for name in columns[0] if name.startswith("images/"))
    train = folders["data"] / "train"
    training = [_panels(train / name, name, columns, eigenvector) for name in _every_nth(names, images)]
    sections = [
        Section(
            "Results",
            [
                f"Measured on {len(truth['images'])} held-out generated scenes against their exact ground truth "
                f"({len(truth['annotations'])} objects), class-agnostic, in percent."
            ],
            [_table(results)],
        ),
        Section("Test scenes", [TEST_SCENES], [_row(COLUMNS, row) for row in panels]),
        Section("Training images", [TRAINING_IMAGES], [_row(TRAINING_COLUMNS, row) for row in training]),
        Section("Loss curves", blocks=_curves(output, folders)),
    ]
    markers = [folder / "stage.json" for folder in folders.values()]
    page = Page(
        title="CutLER quickstart",
        intro=[INTRO],
        notice=NOTICE,
        sections=sections,
        commands=[command for marker in markers if marker.is_file() and (command := _read(marker)["command"])],
        metadata=run_metadata(seed),
    )
    write_page(output / "index.html", page)


def _measure(truth: Mapping[str, Any], found: ByName) -> dict[IouType, dict[str, float]]:
    """AP and AR on the test scenes; annotations without scores score 1."""
    ids = {record["file_name"]: record["id"] for record in truth["images"]}
    records = ((ids[name], record) for name, records in found.items() for record in records)
    results = [{"score": 1.0, **record, "image_id": id_, "category_id": 1} for id_, record in records]
    return evaluate_coco(dict(truth), results)


def _numbers(metrics: Mapping[IouType, Mapping[str, float]]) -> list[float]:
    kinds: tuple[IouType, ...] = ("bbox", "segm")
    return [metrics[kind][metric] for metric in ("AP50", "AR100") for kind in kinds]


def _table(results: Mapping[str, Mapping[IouType, Mapping[str, float]]]) -> Table:
    return Table(
        ["", "box AP50", "mask AP50", "box AR100", "mask AR100"],
        [[name, *_numbers(metrics)] for name, metrics in results.items()],
        title="Metrics",
        notes=["AP50 and AR100 in percent; pseudo-masks have no scores, so each counts 1."],
        best="highest",
    )


def _annotations(stage: Path) -> ByName:
    coco = _read(stage / "annotations.json")
    return _by_name(coco, coco["annotations"])


def _by_name(coco: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> ByName:
    groups = group_by_image(records)
    return {image["file_name"]: groups.get(image["id"], []) for image in coco["images"]}


def _every_nth(names: Sequence[str], count: int) -> Sequence[str]:
    return names[:: max(1, len(names) // count)][:count]


def _panels(
    path: Path, name: str, columns: Sequence[ByName], eigenvector: Callable[[np.ndarray], np.ndarray]
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Image, first eigenvector, and the masks of each column."""
    image = read_image(path)
    shown = [[record for record in found[name] if record.get("score", 1.0) >= MIN_SCORE] for found in columns]
    masks = [draw_records(image, records, boxes=False, scores=False) for records in shown]
    return [image, draw_heatmap(image, eigenvector(image)), *masks]


def _eigenvector(stage: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Second eigenvector of the first cut, with the settings of a MaskCut stage."""
    cfg = yaml.safe_load((stage / "config.yaml").read_text(encoding="utf-8"))["maskcut"]
    params = MaskCutParams(**{field.name: cfg[field.name] for field in fields(MaskCutParams)} | {"num_masks": 1})
    extractor = build_feature_extractor(cfg["features"]["name"])
    side = cfg["fixed_size"]

    def compute(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "h w"]:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        square = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        return maskcut(extractor(square.clamp(0, 1)), params).eigenvectors[0, 0].numpy()

    return compute


def _row(captions: Sequence[str], panels: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Row:
    return Row([Figure(panel, caption=caption) for caption, panel in zip(captions, panels, strict=True)])


def _curves(output: Path, folders: Mapping[str, Path]) -> list[Figure]:
    figures = []
    for stage, title in (("train", "Training on pseudo-masks"), ("train_round_1", "Self-training round")):
        logs = sorted(folders[stage].rglob("metrics.csv"))
        if not logs:  # training shorter than the log interval
            continue
        path = output / f"loss_{stage}.svg"
        curves = select_curves(read_metrics(logs), "train/loss*")
        save_figure(path, plot_curves(curves, title=title, y_label="loss"))
        figures.append(Figure(path, caption=title))
    return figures


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
