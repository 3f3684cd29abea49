"""README.md of a published detector: data, recipe, metrics, who labelled what, licence, use (`model_card.md.j2`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from cutler_pl.api.model_card.labels import Part, trace_labels, verdict
from cutler_pl.api.model_card.measured import Measured, read_measured
from cutler_pl.api.model_card.run_folder import (
    RunFolder,
    last_part,
    read_training,
    stage_commands,
    stages,
    training_of,
)
from cutler_pl.coco.stream import Batch, read_batches
from cutler_pl.errors import CutlerError
from cutler_pl.models import Detector
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.version import VERSION
from cutler_pl.weights.hub import CARD_FILE
from cutler_pl.weights.provenance import learned_from

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")
_TAGS = ["object-detection", "instance-segmentation", "cutler"]
_LABELS = {True: "yes", False: "no", None: "not recorded"}
_SETTINGS = {
    "name": "experiment",
    "trainer.max_steps": "steps",
    "data.batch_size": "images per forward pass",
    "trainer.accumulate_grad_batches": "forward passes per step",
    "optimizer.lr": "learning rate",
    "model.init": "start weights",
    "trainer.precision": "precision",
    "seed": "seed",
}


@dataclass(frozen=True)
class CardOptions:
    """What a model card is written from.

    Attributes:
        run: Folder of the training or the recipe; None for the one that the checkpoint lies in, if it lies in one.
        evaluation: Folder that `cutler evaluate` wrote; None for the one of the recipe, if it has one.
        license: Licence of the weights, as the hub names it, such as `apache-2.0`; None: none is stated.
    """

    run: str | Path | None = None
    evaluation: str | Path | None = None
    license: str | None = None


@dataclass(frozen=True)
class Described:
    """The detector that a card is of.

    Attributes:
        detector: The network.
        class_names: Name of label 1, 2, …
        source: Where it was loaded from, as it was named; None for one that was built.
        file: The local file of `source`.
        repository: Where it will be found, `owner/name`.
    """

    detector: Detector
    class_names: tuple[str, ...]
    source: str | None
    file: Path | None
    repository: str


def write_card(folder: Path, described: Described, options: CardOptions) -> Path:
    """Write the card, and return its path.

    Raises:
        ConfigError: `run` holds no training, or `evaluation` no metrics or those of another checkpoint.
    """
    run = _training(described, options)
    recipe = None if run is None else run.recipe
    measured = read_measured(options.evaluation, recipe, described.file)
    parts = _parts(run, described)
    card = ModelCard.from_template(
        _metadata(described, options, measured),
        template_path=str(_TEMPLATE),
        repository=described.repository,
        license=cell(options.license) if options.license else "",
        model=_model(described),
        data=_data(run),
        settings={} if run is None else _settings(run),
        stages=[] if recipe is None else stage_commands(recipe),
        metrics=measured,
        verdict=cell(verdict(parts)),
        parts=[(part.name, part.learned.source, _LABELS[part.learned.labels]) for part in parts],
        made={} if run is None else run.metadata,
        version=VERSION,
        cell=cell,
    )
    path = folder / CARD_FILE
    write_text(path, str(card))
    return path


def cell(value: Any) -> str:
    """A value as text in a cell of a Markdown table: no line breaks, columns or HTML."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _training(described: Described, options: CardOptions) -> RunFolder | None:
    if options.run is None:
        return None if described.file is None else training_of(described.file)
    folder = Path(options.run)
    inside = None if described.file is None else training_of(described.file)
    if inside is not None and (inside.path == folder or inside.path in stages(folder)):
        return inside
    return read_training(folder)


def _parts(run: RunFolder | None, described: Described) -> list[Part]:
    if run is not None:
        return trace_labels(run)
    known = None if described.source is None else learned_from(described.source)
    return [] if known is None else [Part(f"The weights, {last_part(described.source)}", known)]


def _metadata(described: Described, options: CardOptions, measured: Measured) -> ModelCardData:
    results = [
        EvalResult(
            task_type="object-detection", dataset_type=dataset, dataset_name=dataset, metric_type=metric,
            metric_name=f"{kind} {metric}", metric_value=round(value, 2),
        )
        for dataset, kind, values in measured.rows
        for metric, value in values.items()
    ]  # fmt: skip
    named: Mapping[str, Any] = {"license": options.license} if options.license else {}
    return ModelCardData(
        library_name="cutler_pl",
        pipeline_tag="object-detection",
        tags=_TAGS,
        model_name=described.repository.rpartition("/")[2],
        eval_results=results or None,
        **named,
    )


def _model(described: Described) -> dict[str, Any]:
    config = described.detector.config
    names = described.class_names
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    count = sum(parameter.numel() for parameter in described.detector.parameters())
    kind = "Mask R-CNN" if len(config.stage_ious) == 1 else f"Cascade Mask R-CNN, {len(config.stage_ious)} stages"
    return {
        "architecture": kind,
        "backbone": f"{config.backbone}, feature pyramid of {config.fpn_channels} channels",
        "parameters": f"{count:,}",
        "classes": shown,
        "size of images": f"shorter side {config.min_size_test} pixels, longer side at most {config.max_size_test}",
    }


def _data(run: RunFolder | None) -> dict[str, str]:
    if run is None:
        return {}
    data = {"images": last_part(run.get("data.images")), "annotations": last_part(run.get("data.annotations"))}
    if (path := run.find(run.get("data.annotations"))) is not None:
        counts = {"images": 0, "annotations": 0}
        try:
            for key, batch in read_batches(path):
                if key in counts and isinstance(batch, Batch):
                    counts[key] += len(batch)
        except CutlerError:
            return data
        data["images"] += f", {counts['images']:,} images"
        data["annotations"] += f", {counts['annotations']:,} objects"
    return data


def _settings(run: RunFolder) -> dict[str, str]:
    found = {title: run.get(name) for name, title in _SETTINGS.items()}
    settings = {title: last_part(value) for title, value in found.items() if value is not None}
    loss = run.get("model.detector.classification_weights")
    if isinstance(loss, Mapping):
        settings["classification loss"] = str(loss.get("_target_", "")).rpartition(".")[2]
    return settings
