"""The parts of the page that are plain HTML, from `templates/`; everything put into them is escaped."""

from functools import cache
from typing import Any, Literal

import jinja2

from cutler_pl.visual.colors import instance_color
from cutler_pl.web.demo.cutting import Cut
from cutler_pl.web.demo.downloads import Found
from cutler_pl.web.demo.figures import embedded

_CAPTIONS = ("eigenvector", "mask before refinement", "mask after refinement")


def render(name: str, **values: Any) -> str:
    """A template with its values."""
    return _environment().get_template(f"{name}.html.j2").render(values)


def status(text: str, *, kind: Literal["hint", "done", "error"] = "done") -> str:
    """The line that says how it went."""
    return render("status", text=text, kind=kind)


def detections_table(found: Found) -> str:
    """A row per object, in the colors of the figure."""
    height, width = found.size_hw
    rows = [
        {
            "color": instance_color(index).tolist(),
            "name": found.categories[category],
            "score": instance["score"],
            "bbox": [round(number) for number in instance["bbox"]],
            "area_percent": 100 * instance["area"] / (height * width),
        }
        for index, (instance, category) in enumerate(zip(found.instances, found.category_ids, strict=True))
    ]
    return render("detections", rows=rows)


def rounds(cut: Cut) -> str:
    """Eigenvector and masks of each round."""
    shown = [
        {
            "color": instance_color(number).tolist(),
            "verdict": one.verdict,
            "ncut_value": one.ncut_value,
            "agreement": one.agreement,
            "score": one.score,
            "figures": list(zip(map(embedded, (one.eigenvector, one.before, one.after)), _CAPTIONS, strict=True)),
        }
        for number, one in enumerate(cut.rounds)
    ]
    return render("rounds", rounds=shown)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("cutler_pl.web.demo")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
