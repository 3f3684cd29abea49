"""Drawing ten instances on a 480×640 image: our masks, contours and boxes against supervision's annotators.

    python benchmarks/drawing.py

supervision draws with its NumPy fallback where OpenCV is not installed, as here.
"""

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from cutler_pl.runtime.imports import supervision
from cutler_pl.visual.draw import draw_instances

HEIGHT, WIDTH, INSTANCES, LINE = 480, 640, 10, 3


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks with uneven edges, and their boxes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for _ in range(INSTANCES):
        rough = 40 * ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 6)
        distance = np.hypot(y - rng.uniform(0, HEIGHT), x - rng.uniform(0, WIDTH))
        masks.append(distance + 8 * rough < rng.uniform(40, 150))
    extents = [ndimage.find_objects(mask.astype(np.uint8))[0] for mask in masks]
    boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in extents]
    return np.stack(masks), np.array(boxes, dtype=np.float64)


def milliseconds(draw: Callable[[], object], repeats: int = 9) -> float:
    """Median time of a call."""
    draw()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print one line per part."""
    sv = supervision()
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks, boxes = blobs()
    labels = ["object 0.50"] * INSTANCES
    detections = sv.Detections(xyxy=boxes, mask=masks)
    by_index = {"color_lookup": sv.ColorLookup.INDEX}

    def annotate(annotator: object, **more: object) -> Callable[[], object]:
        return lambda: annotator.annotate(image.copy(), detections, **more)  # type: ignore[attr-defined]

    rows = {
        "ours: masks, contours, background": lambda: draw_instances(image, masks),
        "supervision: MaskAnnotator": annotate(sv.MaskAnnotator(**by_index)),
        "supervision: BackgroundOverlayAnnotator": annotate(sv.BackgroundOverlayAnnotator()),
        "supervision: PolygonAnnotator": annotate(sv.PolygonAnnotator(thickness=LINE, **by_index)),
        "ours: boxes": lambda: draw_instances(image, None, boxes=boxes),
        "supervision: BoxAnnotator": annotate(sv.BoxAnnotator(thickness=LINE, **by_index)),
        "supervision: RichLabelAnnotator (used)": annotate(sv.RichLabelAnnotator(**by_index), labels=labels),
        "supervision: LabelAnnotator": annotate(sv.LabelAnnotator(**by_index), labels=labels),
        "ours: all": lambda: draw_instances(image, masks, boxes=boxes, labels=labels),
    }
    print(f"{platform.machine()}, NumPy {np.__version__}, supervision {sv.__version__}: ms per image")
    for name, draw in rows.items():
        print(f"{name:<42}{milliseconds(draw):8.1f}")


if __name__ == "__main__":
    main()
