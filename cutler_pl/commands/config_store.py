"""Options of the config tree that come from Python: parameter classes, and one experiment per percentage of labels.

`defaults: [/params@crf.params: crf]` in an option file puts the fields of `CrfParams` at `crf.params`, as if the file
held them, with the defaults of Python; `--cfg job` prints them. `experiment=semi_10pct` is `experiment=semi
label_percent=10`.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from cutler_pl.commands.resolvers import register_resolvers
from cutler_pl.data.copy_paste import CopyPasteParams
from cutler_pl.datasets.catalog import SEMI_PERCENTS
from cutler_pl.maskcut.crf.params import CrfParams, GuidedParams
from cutler_pl.maskcut.params import AnnotationParams, MaskCutParams, PerturbedCuts, WatershedParams
from cutler_pl.models.config import ARCHITECTURES, make_config
from cutler_pl.pseudo_masks.quality.options import QualityThresholds
from cutler_pl.training.mean_teacher_params import MeanTeacherParams

GROUP = "params"
_FROM_OTHERS = ("num_classes", "classification_weights", "sampler")  # of the data, of model/loss, of tests


def register_params() -> None:
    """Add the group `params`, the experiments by percentage and the resolvers to Hydra; once, before composing."""
    register_resolvers()
    nodes: dict[str, Mapping[str, Any]] = {
        "maskcut": _values(MaskCutParams()),
        "annotation": _with_target(AnnotationParams()),
        "perturbed_cuts": _with_target(PerturbedCuts()),
        "watershed": _with_target(WatershedParams()),
        "quality": _with_target(QualityThresholds()),
        "crf": _with_target(CrfParams()),
        "guided": _with_target(GuidedParams()),
        "copy_paste": _with_target(CopyPasteParams()),
        "mean_teacher": _with_target(MeanTeacherParams()),
    }
    for name in ARCHITECTURES:
        options = {key: value for key, value in _values(make_config(name)).items() if key not in _FROM_OTHERS}
        nodes[name] = {"_target_": "cutler_pl.models.build_detector", "_partial_": True, "name": name, **options}
    for name, node in nodes.items():
        _store(GROUP, name, node)
    for percent in (*SEMI_PERCENTS, 100):
        for base in ("semi", "moco"):
            name = f"{base}_{percent}pct" if (base, percent) != ("semi", 100) else "fully_100pct"
            values = {"name": name, "label_percent": percent}
            _store("experiment", name, {"defaults": [base, "_self_"], **values}, package="_global_")


def _store(group: str, name: str, node: Any, *, package: str | None = None) -> None:
    ConfigStore.instance().store(group=group, name=name, node=node, package=package, provider="cutler_pl")


def _with_target(params: Any) -> dict[str, Any]:
    kind = type(params)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **_values(params)}


def _values(params: Any) -> dict[str, Any]:
    assert is_dataclass(params)
    values = {field.name: getattr(params, field.name) for field in fields(params)}
    return {name: _to_lists(value) for name, value in values.items() if not is_dataclass(value)}


def _to_lists(value: Any) -> Any:
    return [_to_lists(part) for part in value] if isinstance(value, tuple) else value
