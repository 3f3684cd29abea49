"""Draws docs/images/dataflow.svg: what each room of the package does with the data, and the files between the stages.

python docs/images/dataflow.py
"""

from pathlib import Path

WIDTH, HEIGHT, GAP = 250, 46, 24
COLUMNS = (20, 320, 620)
STEPS: dict[int, list[tuple[str, str]]] = {
    0: [
        ("images", "read upright by images.py"),
        ("maskcut.features", "(batch, dim, h, w)"),
        ("maskcut.affinity", "cosine > τ, found objects blanked"),
        ("maskcut.ncut, eigen", "2nd generalised eigenvector"),
        ("maskcut.bipartition", "seed, corner rule, component"),
        ("maskcut.crf", "full size, accepted by IoU"),
        ("pseudo_masks", "resumable shards, fixed order"),
    ],
    1: [
        ("annotations.json", ""),
        ("data", "index → transforms"),
        ("data.copy_paste", "on the device"),
        ("models", "backbone → RPN → cascade → masks"),
        ("models.losses × droploss", ""),
        ("training", "clipping, schedule, precise BN"),
        ("last.ckpt", ""),
    ],
    2: [
        ("self_training", "score ≥ t, then IoU < 0.5"),
        ("predictions.json", ""),
        ("training.callbacks", "PredictionWriter"),
        ("evaluation", "AP, AP50, AR100"),
        ("reports", "tables, HTML page"),
    ],
}
ROWS = {2: (0, 2, 3, 4, 5)}
FILES = {"annotations.json", "last.ckpt", "predictions.json"}
ARROWS = [
    *((a, b) for column in (0, 1) for (a, _), (b, _) in zip(STEPS[column], STEPS[column][1:], strict=False)),
    ("predictions.json", "self_training"), ("training.callbacks", "predictions.json"), ("evaluation", "reports"),
]  # fmt: skip
STYLE = """
  .box { fill: #f4fbfa; stroke: #00897b; } .file { fill: #fff4dc; stroke: #b7791f; }
  .line { fill: none; stroke: #607d8b; stroke-width: 1.5; marker-end: url(#tip); }
  text { font: 14px sans-serif; fill: #16302c; text-anchor: middle; }
  .small, .label { font-size: 12px; fill: #4a5f5b; } .label { paint-order: stroke; stroke: #fff; stroke-width: 4px; }
"""


def place(name: str) -> tuple[float, float]:
    """Left and upper border of a box."""
    for column, steps in STEPS.items():
        names = [step for step, _ in steps]
        if name in names:
            row = ROWS.get(column, range(len(steps)))[names.index(name)]
            return COLUMNS[column], 20 + row * (HEIGHT + GAP)
    raise KeyError(name)


def box(name: str, note: str) -> str:
    """A room, or a file with round corners."""
    x, y = place(name)
    kind, radius = ("file", HEIGHT / 2) if name in FILES else ("box", 6)
    shape = f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="{radius}"/>'
    middle = x + WIDTH / 2
    first = f'<text x="{middle}" y="{y + (20 if note else 28)}">{escape(name)}</text>'
    return shape + first + (f'<text class="small" x="{middle}" y="{y + 37}">{escape(note)}</text>' if note else "")


def escape(text: str) -> str:
    """Text of XML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def vertical(a: str, b: str) -> str:
    """Arrow between two boxes of a column."""
    (x, top), (_, bottom) = place(a), place(b)
    start, end = (top + HEIGHT, bottom - 2) if bottom > top else (top, bottom + HEIGHT + 2)
    return line(f"M{x + WIDTH / 2} {start}V{end}")


def line(path: str) -> str:
    """Arrow along a path."""
    return f'<path class="line" d="{path}"/>'


def label(x: float, y: float, text: str) -> str:
    """A word beside an arrow."""
    return f'<text class="label" x="{x}" y="{y}">{escape(text)}</text>'


def main() -> None:
    """Write the figure."""
    parts = [box(*step) for steps in STEPS.values() for step in steps] + [vertical(*pair) for pair in ARROWS]
    between = [COLUMNS[1] - 25, COLUMNS[2] - 25]  # lanes between the columns
    (_, first), (_, last) = place("annotations.json"), place("pseudo_masks")
    half = HEIGHT / 2
    parts.append(line(f"M{COLUMNS[0] + WIDTH} {last + half}H{between[0]}V{first + half}H{COLUMNS[1] - 2}"))
    parts.append(line(f"M{COLUMNS[2]} {first + half}H{COLUMNS[1] + WIDTH + 2}"))
    parts.append(label(between[1], first + half - 8, "next round"))
    (_, start), (_, writer), (_, measured) = place("last.ckpt"), place("training.callbacks"), place("evaluation")
    parts.append(line(f"M{COLUMNS[1] + WIDTH} {start + half}H{between[1]}V{writer + half}H{COLUMNS[2] - 2}"))
    (_, found), right = place("predictions.json"), COLUMNS[2] + WIDTH
    parts.append(line(f"M{right} {found + half}H{right + 18}V{measured + half}H{right + 2}"))
    (_, cut), (_, graph) = place("maskcut.bipartition"), place("maskcut.affinity")
    parts.append(line(f"M{COLUMNS[0]} {cut + half}H{COLUMNS[0] - 14}V{graph + half}H{COLUMNS[0] - 2}"))
    size = (COLUMNS[2] + WIDTH + 30, 20 + 7 * (HEIGHT + GAP))
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}">'
    marker = f'<defs>{tip}<path d="M0 0L8 4L0 8z" fill="#607d8b"/></marker></defs>'
    ground = f'<rect width="{size[0]}" height="{size[1]}" rx="8" fill="#fff"/>'
    text = "\n".join([head, f"<style>{STYLE}</style>", marker, ground, *parts, "</svg>", ""])
    Path(__file__).with_suffix(".svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
