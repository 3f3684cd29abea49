"""Hypothesis strategies of COCO files, results, masks and shard lines: mostly well formed, with odd values anywhere."""

import json
import re
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cutler_pl.coco import rle

HEIGHT, WIDTH = 20, 30

INTEGERS = [0, -1, 1, 2**31, 2**32 + 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**10, 10**400]
FLOATS = [float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 1e300, -1e300, 1e-300, 0.5, -0.0, 4e8]
OTHERS: list[Any] = [
    None, True, "", "1", "\ud800", "\0", "é" * 300, "../x.jpg", "/etc/passwd", [], {}, [1], [[]], {"a": 1},
]  # fmt: skip
LITERALS = [
    "1" * 400, "1" * 5000, "NaN", "1e400", "-", "null", "[" * 2000, "[" * 900 + "]" * 900, '{"a":', '"', "]", "}",
]  # fmt: skip

odd = st.sampled_from([*INTEGERS, *FLOATS, *OTHERS])
coordinates = st.one_of(st.floats(-5, 40), st.integers(-5, 40), st.sampled_from([*INTEGERS, *FLOATS]))
polygons = st.lists(st.lists(coordinates, max_size=14), max_size=3)
sides = st.one_of(st.sampled_from([HEIGHT, WIDTH]), odd)
characters = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12)


@st.composite
def counts(draw: st.DrawFn, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> str:
    """Compressed run lengths of a box, often with characters changed."""
    mask = np.zeros(size_hw, dtype=bool)
    y, x = draw(st.integers(0, size_hw[0] - 1)), draw(st.integers(0, size_hw[1] - 1))
    mask[y : y + draw(st.integers(0, 9)), x : x + draw(st.integers(0, 9))] = True
    valid = rle.encode(mask)["counts"]
    cut = draw(st.integers(0, len(valid)))
    return valid if draw(st.booleans()) else valid[:cut] + draw(characters) + valid[cut + draw(st.integers(0, 2)) :]


run_lengths = st.fixed_dictionaries(
    {
        "size": st.one_of(st.just([HEIGHT, WIDTH]), st.lists(sides, max_size=3)),
        "counts": st.one_of(
            counts(),
            characters,
            st.just([HEIGHT * WIDTH]),
            st.just([10, 20, HEIGHT * WIDTH - 30]),
            st.lists(st.one_of(st.integers(0, 700), odd), max_size=5),
        ),
    }
)
boxes = st.one_of(
    st.tuples(st.floats(0, 20), st.floats(0, 15), st.floats(0, 9), st.floats(0, 9)).map(list),
    st.lists(coordinates, min_size=4, max_size=4),
)
segmentations = st.one_of(polygons, run_lengths, odd)


def changed(records: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """Records, some of them with one field odd or missing."""

    @st.composite
    def change(draw: st.DrawFn) -> Any:
        record = dict(draw(records))
        kind = draw(st.integers(0, 5))
        key = draw(st.sampled_from(sorted(record)))
        if kind == 0:
            record[key] = draw(odd)
        elif kind == 1:
            del record[key]
        return record

    return change()


images = changed(
    st.fixed_dictionaries(
        {
            "id": st.integers(1, 3),
            "file_name": st.sampled_from(["a.jpg", "b/c.jpg", "../x.jpg", "x" * 255 + ".jpg", "gr\udcf6n.jpg"]),
            "height": st.just(HEIGHT),
            "width": st.just(WIDTH),
        }
    )
)
annotations = changed(
    st.fixed_dictionaries(
        {
            "id": st.integers(1, 9),
            "image_id": st.integers(1, 3),
            "category_id": st.just(1),
            "bbox": boxes,
            "area": st.floats(0, 100),
            "iscrowd": st.integers(0, 1),
            "segmentation": segmentations,
        }
    )
)
results = changed(
    st.fixed_dictionaries(
        {
            "image_id": st.integers(1, 3),
            "category_id": st.just(1),
            "bbox": boxes,
            "score": st.floats(0, 1),
            "segmentation": segmentations,
        }
    )
)
instances = st.fixed_dictionaries({"bbox": boxes, "area": st.floats(0, 9), "segmentation": segmentations})
shards = changed(
    st.fixed_dictionaries(
        {
            "file": st.sampled_from(["a.jpg", "b.jpg", "c.jpg"]),
            "height": st.just(HEIGHT),
            "width": st.just(WIDTH),
            "annotations": st.one_of(
                st.lists(
                    st.fixed_dictionaries({"bbox": boxes, "area": st.floats(0, 9), "segmentation": segmentations})
                ),
                odd,
            ),
            "dropped": st.just({"small": 1}),
        }
    )
)
categories = changed(st.just({"id": 1, "name": "fg"}))


def _lists(records: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(records, max_size=most), st.lists(records, min_size=1, max_size=most), odd)


files = st.fixed_dictionaries(
    {"images": _lists(images, 4), "annotations": _lists(annotations, 6), "categories": _lists(categories, 1)}
)
results_lists = _lists(results, 6)

_NUMBER = re.compile(r"-?\d[\d.eE+-]*")


@st.composite
def texts(draw: st.DrawFn, contents: st.SearchStrategy[Any]) -> str:
    """JSON texts, some with one number or place replaced by what is no value, or cut."""
    text = json.dumps(draw(contents))
    kind = draw(st.integers(0, 9))
    if kind == 0 and (numbers := list(_NUMBER.finditer(text))):
        number = draw(st.sampled_from(numbers))
        return text[: number.start()] + draw(st.sampled_from(LITERALS)) + text[number.end() :]
    place = draw(st.integers(0, len(text)))
    if kind == 1:
        return text[:place] + draw(st.sampled_from(LITERALS)) + text[place:]
    return text[:place] if kind == 2 else text
