"""The model zoo and the datasets' folders, from the tables of the code: released files, backbones, catalogue."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import timm
import torch

from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.evaluation.published import semi_supervised, zero_shot
from cutler_pl.maskcut.released import BACKBONES
from cutler_pl.models import build_detector
from cutler_pl.weights.sources import PACKAGED, RELEASED

_CASCADE, _PLAIN = "cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"
_README = "[as CutLER's repository](#licences)"
_PUBLISHED = {
    "cutler_mrcnn_final": (_PLAIN, "CutLER, Mask R-CNN"),
    "cutler_cascade_final": (_CASCADE, "CutLER, Cascade Mask R-CNN"),
}
"""Architecture, and name in the table of published numbers."""


class File(NamedTuple):
    """A row of the table of detectors."""

    name: str
    what: str
    published: str
    size: str
    licence: str
    command: str


def detectors() -> str:
    """A table of every released and packaged file; an error for a file that nothing is said about."""
    rows = [_packaged(name) for name in PACKAGED] + [_released(name) for name in RELEASED]
    return _table(["name", "what", "published numbers", "size", "licence", "command"], rows)


def _packaged(name: str) -> File:
    return File(
        f"`{name}`{{ .whole }}",
        "small class-agnostic cascade, in this package, from [composed scenes](../start_weights.md); a demonstration",
        "none",
        f"{PACKAGED[name].stat().st_size / 1e6:.1f} MB, half precision",
        "Apache 2.0",
        f"`cutler predict checkpoint={name} input=<images> output=<folder>`",
    )


def _released(name: str) -> File:
    link, evaluate = f"[`{name}`]({RELEASED[name]}){{ .whole }}", f"cutler evaluate checkpoint={name} eval="
    if percent := re.fullmatch(r"cutler_(?:semi|fully)_(\d+)perc", name):
        box, mask = semi_supervised().methods["CutLER"][int(percent[1])]
        what = f"80-class cascade, from CutLER's weights and {percent[1]} % of COCO's labels"
        numbers, command = f"COCO box AP {box}, mask AP {mask}", f"{evaluate}coco_supervised label_percent={percent[1]}"
        return File(link, what, numbers, _size(_CASCADE, 80), _README, f"`{command}`")
    if number := re.fullmatch(r"cutler_cascade_r(\d)", name):
        what = f"class-agnostic cascade after {number[1]} round(s) of self-training"
        return File(link, what, "none", _size(_CASCADE, 1), _README, f"`{evaluate}zero_shot_11`")
    if name == "dino_RN50_pretrain_d2_format":
        what, size = "DINO's ResNet-50, the start of the training", _megabytes(_detector(_CASCADE, 1).backbone.body)
        return File(link, what, "none", size, "Apache 2.0", "`cutler train experiment=cutler_cascade`")
    if name in _PUBLISHED:
        kind, method = _PUBLISHED[name]
        ap50, ar = zero_shot().methods[method]["coco"]
        numbers = f"COCO AP50 {ap50}, AR100 {ar}; [all 11](#zero-shot)"
        what = f"class-agnostic {'Cascade Mask' if kind == _CASCADE else 'Mask'} R-CNN, self-trained"
        return File(link, what, numbers, _size(kind, 1), _README, f"`{evaluate}zero_shot_11`")
    raise KeyError(f"scripts/docs/zoo.py says nothing about {name} of cutler_pl/weights/sources.py")


def zero_shot_table() -> str:
    """The published zero-shot numbers, AP50 | AR100."""
    table = zero_shot()
    rows = [
        [title, *(f"{m[key][0]} \\| {m[key][1]}" for m in table.methods.values())]
        for key, title in table.titles.items()
    ]
    return _table(["AP50 \\| AR100", *table.methods], rows)


def semi_supervised_table() -> str:
    """The published numbers by percentage of labels, box | mask AP."""
    methods = semi_supervised().methods
    percents = sorted({percent for row in methods.values() for percent in row})
    rows = [[f"{p} %", *(_pair(row[p]) if p in row else "–" for row in methods.values())] for p in percents]
    return _table(["box \\| mask AP", *methods], rows)


def backbones() -> str:
    """A table of the vision transformers whose features MaskCut takes."""
    rows = []
    for name, one in BACKBONES.items():
        address = f"https://huggingface.co/timm/{one.timm_name}"
        with torch.device("meta"):
            model = timm.create_model(one.timm_name, pretrained=False, num_classes=0)
        licence = "DINOv3 License, not Apache" if name.startswith("dinov3") else "Apache 2.0"
        rows.append(
            [
                f"[`{name}`]({address})",
                f"{one.feature}s",
                _megabytes(model),
                licence,
                f"`cutler maskcut maskcut={name} …`",
            ]
        )
    return _table(["name", "features", "size", "licence", "command"], rows)


def datasets_tree() -> str:
    """The datasets folder as a tree, with the name in the catalogue behind each path."""
    paths: dict[str, list[str]] = {}
    for name, info in CATALOG.items():
        several = re.sub(r"^coco_semi_\d+$", "coco_semi_…", name)
        for path in (f"{info.images}/", re.sub(r"/\d+perc_", "/{K}perc_", info.annotations)):
            names = paths.setdefault(path, [])
            names += [] if several in names else [several]
    lines = ["<datasets>/"]
    for top in sorted({path.split("/")[0] for path in paths}):
        below = {path.removeprefix(f"{top}/"): names for path, names in paths.items() if path.startswith(f"{top}/")}
        lines.append(f"  {top + '/':<60}{'images of ' + ' '.join(below.pop('')) if '' in below else ''}".rstrip())
        for path, names in sorted(below.items()):
            lines.append(f"    {path:<58}{'images of ' * path.endswith('/')}{' '.join(names)}")
    return "```text\n" + "\n".join(lines) + "\n```"


def _pair(numbers: Sequence[float]) -> str:
    return " \\| ".join(map(str, numbers))


def _size(kind: str, num_classes: int) -> str:
    return _megabytes(_detector(kind, num_classes))


@cache
def _detector(kind: str, num_classes: int) -> Any:
    with torch.device("meta"):
        return build_detector(kind, num_classes=num_classes)


def _megabytes(model: torch.nn.Module) -> str:
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    return f"weights alone {4 * numbers / 1e6:.0f} MB"


def _table(head: list[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
