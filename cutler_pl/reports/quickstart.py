"""HTML page of the quickstart: figures beside the ground truth, curves and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float, UInt8

from cutler_pl.errors import ImageReadError
from cutler_pl.evaluation import IouType, evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.stages import (
    ByName,
    annotations_of,
    by_name,
    commands_of,
    confident,
    every_nth,
    loss_figures,
    predictions_of,
    read_json,
)
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Share
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

OFFLINE = "patch_descriptors"
INTRO = (
    "A detector trained on images without labels. MaskCut cut the patch graph of each training image into "
    "pseudo-masks; a small Cascade Mask R-CNN learned from them with DropLoss and copy-paste; its confident "
    "predictions then replaced and completed the masks for self-training ({rounds})."
)
NOTICE = (
    f"These masks come from color and texture alone (`{OFFLINE}`), so that the quickstart needs no download. "
    "They group regions; they do not know objects. Real use takes DINO features: `maskcut=dino_vitb8`."
)
TEST_SCENES = (
    "From left to right: the image; the eigenvector of the first cut, red on the object's side; the pseudo-masks; the "
    "detections of each detector that score at least {min_score}; the ground truth."
)
TRAINING_IMAGES = (
    "Images the detector was trained on. They have no ground truth here. The last figure shows the annotations of the "
    "self-training round, in which confident predictions of the detector have replaced what they overlap."
)

Panels = list[UInt8[np.ndarray, "_ _ 3"]]


@dataclass(frozen=True, kw_only=True)
class QuickstartFiles:
    """What the stages of `conf/recipe/quickstart.yaml` wrote.

    Attributes:
        train_images: Folder of the training images; the real ones lie below `images/`.
        test_images: Folder of the test scenes.
        test_annotations: Their ground truth.
        maskcut: Output of MaskCut for the training images.
        maskcut_test: Output of MaskCut for the test scenes, with scores.
        self_train: Output of self-training: the annotations of the next round.
        detectors: Predictions on the test scenes by the name of the detector.
        trainings: Output of each training by its title.
    """

    train_images: str
    test_images: str
    test_annotations: str
    maskcut: str
    maskcut_test: str
    self_train: str
    detectors: Mapping[str, str]
    trainings: Mapping[str, str]


def write_quickstart_page(
    output: str | Path, files: QuickstartFiles, *, seed: int, min_score: Share, scenes: int = 8, images: int = 9
) -> None:
    """Measure and draw the results of the stages; write `index.html` and `results.json`.

    Args:
        output: Folder of the recipe.
        files: Outputs of its stages.
        min_score: Lowest score of a drawn detection.
        scenes: Number of test scenes.
        images: Number of training images.
    """
    output = Path(output)
    truth = read_json(Path(files.test_annotations))
    masks = annotations_of(Path(files.maskcut_test))
    detections = {name: predictions_of(Path(folder)) for name, folder in files.detectors.items()}
    results = {name: _measure(truth, found) for name, found in {"pseudo-masks": masks, **detections}.items()}
    write_json(output / "results.json", results, indent=2)
    for name, metrics in results.items():
        log.info("%-28s AP50 box %5.1f mask %5.1f   AR100 box %5.1f mask %5.1f", name, *_numbers(metrics))

    option = yaml.safe_load((Path(files.maskcut) / "config.yaml").read_text(encoding="utf-8"))["maskcut"]
    eigenvector = _eigenvector(option)
    shown = [masks, *(confident(found, min_score) for found in detections.values())]
    columns = [*shown, by_name(truth, truth["annotations"])]
    captions = ["image", "eigenvector", "pseudo-masks", *detections, "ground truth"]
    names = sorted(record["file_name"] for record in truth["images"])
    root = Path(files.test_images)
    panels = _readable(root, every_nth(names, scenes), columns, eigenvector)
    strips = [side_by_side(row, titles=None if place else captions, height=240) for place, row in enumerate(panels[:4])]
    if strips:
        save_image(output / "overview.jpg", np.concatenate(strips), max_side=1600)

    columns = [annotations_of(Path(files.maskcut)), annotations_of(Path(files.self_train))]
    training_captions = [*captions[:3], "annotations of the next round"]
    names = sorted(name for name in columns[0] if name.startswith("images/"))
    root = Path(files.train_images)
    training = _readable(root, every_nth(names, images), columns, eigenvector)
    sections = [
        Section(
            "Results",
            [
                f"Measured on {len(truth['images'])} held-out generated scenes against their exact ground truth "
                f"({len(truth['annotations'])} objects), class-agnostic, in percent."
            ],
            [_table(results)],
        ),
        Section("Test scenes", [TEST_SCENES.format(min_score=min_score)], [_row(captions, row) for row in panels]),
        Section("Training images", [TRAINING_IMAGES], [_row(training_captions, row) for row in training]),
        Section("Loss curves", blocks=loss_figures(output, files.trainings)),
    ]
    rounds = len(files.detectors) - 1
    page = Page(
        title="CutLER quickstart",
        intro=[INTRO.format(rounds="1 round" if rounds == 1 else f"{rounds} rounds")],
        notice=NOTICE if option["features"]["name"] == OFFLINE else "",
        sections=sections,
        commands=commands_of(output),
        metadata=run_metadata(seed),
    )
    write_page(output / "index.html", page)


def _measure(truth: Mapping[str, Any], found: ByName) -> dict[IouType, dict[str, float]]:
    """AP and AR on the test scenes."""
    ids = {record["file_name"]: record["id"] for record in truth["images"]}
    records = ((ids[name], record) for name, records in found.items() for record in records)
    results = [{**record, "image_id": id_, "category_id": 1} for id_, record in records]
    return evaluate_coco(dict(truth), results)


def _numbers(metrics: Mapping[IouType, Mapping[str, float]]) -> list[float]:
    kinds: tuple[IouType, ...] = ("bbox", "segm")
    return [metrics[kind][metric] for metric in ("AP50", "AR100") for kind in kinds]


def _table(results: Mapping[str, Mapping[IouType, Mapping[str, float]]]) -> Table:
    return Table(
        ["", "box AP50", "mask AP50", "box AR100", "mask AR100"],
        [[name, *_numbers(metrics)] for name, metrics in results.items()],
        title="Metrics",
        notes=[
            "AP50 and AR100 in percent. Pseudo-masks and detections are ranked by their scores; a pseudo-mask's score "
            "is a heuristic from its cut, the refinement and its size."
        ],
        best="highest",
    )


def _readable(
    root: Path, names: Sequence[str], columns: Sequence[ByName], eigenvector: Callable[[np.ndarray], np.ndarray]
) -> list[Panels]:
    """The panels of each image; one that cannot be read any more is logged and left out."""
    rows = []
    for name in names:
        try:
            rows.append(_panels(root / name, name, columns, eigenvector))
        except ImageReadError as error:
            log.warning("not on the page: %s", error)
    return rows


def _panels(
    path: Path, name: str, columns: Sequence[ByName], eigenvector: Callable[[np.ndarray], np.ndarray]
) -> Panels:
    """Image, first eigenvector, and the masks of each column."""
    image = read_image(path)
    masks = [draw_records(image, found[name], boxes=False, scores=False) for found in columns]
    return [image, draw_heatmap(image, eigenvector(image)), *masks]


def _eigenvector(option: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Second eigenvector of the first cut, with the features and settings of a MaskCut run."""
    params = MaskCutParams(**{field.name: option[field.name] for field in fields(MaskCutParams)} | {"num_masks": 1})
    features = {name: value for name, value in option["features"].items() if name != "_target_"}
    extractor = build_feature_extractor(**features)

    def compute(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "h w"]:
        square = resize_to_square(image, option["fixed_size"])[None].float() / 255
        return maskcut(extractor(square), params, solver=option["solver"]).eigenvectors[0, 0].numpy()

    return compute


def _row(captions: Sequence[str], panels: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Row:
    return Row([Figure(panel, caption=caption) for caption, panel in zip(captions, panels, strict=True)])
