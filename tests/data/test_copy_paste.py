import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler_pl.data.copy_paste import CopyPasteParams, Paste, apply_plan, copy_paste, draw_plan, scaled_size
from cutler_pl.errors import ConfigError
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.runtime.seeding import generator
from cutler_pl.types import Target

PASTE_ALL = CopyPasteParams(ratio_min=1.0)
CASES = [
    "a_disjoint_3src_2dst",
    "b_single_src",
    "c_covering_dst_rejected",
    "d_two_copies_one_rejected",
    "e_dst_without_instances_shift_swap",
    "f_src_without_instances",
    "g_partial_occlusion_box_shrinks",
    "h_thin_source_mask_dilation",
]


def target_of(*masks: torch.Tensor, size_hw: tuple[int, int] = (8, 10)) -> Target:
    stacked = torch.stack(masks) if masks else torch.zeros(0, *size_hw, dtype=torch.bool)
    labels = torch.arange(1, len(masks) + 1)
    return {"boxes": masks_to_boxes(stacked), "labels": labels, "masks": stacked, "image_id": 7}


def rectangle(y0: int, y1: int, x0: int, x1: int, *, size_hw: tuple[int, int] = (8, 10)) -> torch.Tensor:
    mask = torch.zeros(size_hw, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def plain(value: int, *, size_hw: tuple[int, int] = (8, 10)) -> torch.Tensor:
    return torch.full((3, *size_hw), value, dtype=torch.uint8)


def random_batch(sizes: list[tuple[int, int]], counts: list[int], seed: int) -> tuple[list[torch.Tensor], list[Target]]:
    g = generator(seed)
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=g) for size in sizes]
    targets = []
    for size, count in zip(sizes, counts, strict=True):
        masks = []
        for _ in range(count):
            y, x = (int(torch.randint(side - 1, (), generator=g)) for side in size)
            h, w = (
                int(torch.randint(1, side - at + 1, (), generator=g)) for side, at in zip(size, (y, x), strict=True)
            )
            masks.append(rectangle(y, y + h, x, x + w, size_hw=size))
        targets.append(target_of(*masks, size_hw=size))
    return images, targets


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_copy_paste_reproduces_the_original(golden_dir: Path, case: str) -> None:
    facts = json.loads((golden_dir / "detector" / "copypaste_cases.json").read_text())[case]
    arrays = np.load(golden_dir / "detector" / "copypaste_cases.npz")
    source, target, expected = (
        {key: torch.from_numpy(arrays[f"{case}_{role}_{key}"]) for key in ("image", "masks", "boxes")}
        for role in ("src", "dst", "out")
    )
    targets: list[Target] = [
        {"boxes": part["boxes"], "masks": part["masks"], "labels": torch.ones(len(part["masks"]), dtype=torch.long)}
        for part in (target, source)
    ]
    plan: list[Paste | None] = [None, None]
    if "choice" in facts:
        height, width = target["image"].shape[1:]
        size_hw = scaled_size((height, width), facts["resize_ratio"])
        assert (width - size_hw[1], height - size_hw[0]) == (
            facts["w_shift_range_inclusive"][1],
            facts["h_shift_range_inclusive"][1],
        )
        plan[0] = Paste(1, tuple(facts["choice"]), size_hw, (facts["h_shift"], facts["w_shift"]))

    images, pasted = apply_plan([target["image"], source["image"]], targets, plan, CopyPasteParams(reproduce=True))

    assert torch.equal(images[0], expected["image"])
    assert torch.equal(pasted[0]["masks"], expected["masks"])
    boxes = facts["tight_boxes"]  # case e: the original's own boxes are misplaced, ours come from the masks
    assert pasted[0]["boxes"].tolist() == boxes
    assert case.startswith("e_") or expected["boxes"].tolist() == boxes


def test_paste_pixels_label_and_mask() -> None:
    images = [plain(10), plain(200)]
    targets = [target_of(rectangle(0, 2, 0, 2)), target_of(rectangle(4, 6, 5, 9))]
    targets[1]["labels"] = torch.tensor([42])

    out, pasted = apply_plan(images, targets, [Paste(1, (0,), (8, 10), (0, 0)), None], PASTE_ALL)

    assert torch.equal(out[0] == 200, rectangle(4, 6, 5, 9).expand(3, 8, 10))
    assert (out[0][out[0] != 200] == 10).all()
    assert pasted[0]["labels"].tolist() == [1, 42]
    assert pasted[0]["boxes"].tolist() == [[0, 0, 2, 2], [5, 4, 9, 6]]
    assert pasted[0]["image_id"] == 7
    assert out[1] is images[1]


def test_the_scaled_source_lands_at_the_shift() -> None:
    images, targets = [plain(0), plain(100)], [target_of(), target_of(rectangle(0, 8, 0, 10))]
    _, pasted = apply_plan(images, targets, [Paste(1, (0,), (4, 5), (3, 2)), None], PASTE_ALL)
    assert pasted[0]["boxes"].tolist() == [[2, 3, 7, 7]]
    assert int(pasted[0]["masks"].sum()) == 20


def test_drop_covering_copy() -> None:
    images = [plain(0), plain(100)]
    plan: list[Paste | None] = [Paste(1, (0, 1), (8, 10), (0, 0)), None]
    target = target_of(rectangle(0, 2, 0, 10))
    source = target_of(rectangle(0, 1, 0, 10), rectangle(0, 1, 0, 9))
    out, pasted = apply_plan(images, [target, source], plan, PASTE_ALL)
    assert pasted[0]["labels"].tolist() == [1, 2]
    assert int((out[0][0] == 100).sum()) == 9
    assert int(pasted[0]["masks"][0].sum()) == 11


def test_nothing_changes_where_all_copies_are_dropped() -> None:
    images, targets = [plain(0), plain(100)], [target_of(rectangle(2, 4, 2, 4)), target_of(rectangle(0, 8, 0, 10))]
    out, pasted = apply_plan(images, targets, [Paste(1, (0,), (8, 10), (0, 0)), None], PASTE_ALL)
    assert out[0] is images[0]
    assert pasted[0] is targets[0]


def test_occluded_objects_shrink_or_leave() -> None:
    params = CopyPasteParams(max_ioa=1.1)
    images = [plain(0), plain(100)]
    targets = [target_of(rectangle(0, 2, 0, 2), rectangle(0, 2, 0, 6)), target_of(rectangle(0, 8, 0, 4))]
    _, pasted = apply_plan(images, targets, [Paste(1, (0,), (8, 10), (0, 0)), None], params)
    assert pasted[0]["labels"].tolist() == [2, 1]
    assert pasted[0]["boxes"].tolist() == [[4, 0, 6, 2], [0, 0, 4, 8]]


def test_drop_vanished_copy_unless_reproducing() -> None:
    images = [plain(0), plain(100, size_hw=(64, 64))]
    targets = [target_of(rectangle(0, 2, 0, 2)), target_of(rectangle(0, 1, 0, 1, size_hw=(64, 64)), size_hw=(64, 64))]
    plan: list[Paste | None] = [Paste(1, (0,), (4, 5), (0, 0)), None]
    _, right = apply_plan(images, targets, plan, CopyPasteParams())
    _, reproduced = apply_plan(images, targets, plan, CopyPasteParams(reproduce=True))
    assert len(right[0]["boxes"]) == 1
    assert reproduced[0]["boxes"].tolist()[-1] == [0, 0, 0, 0]


def test_scaled_mask_does_not_grow() -> None:
    images = [plain(0, size_hw=(20, 20)), plain(100, size_hw=(30, 30))]
    target = target_of(size_hw=(20, 20))
    source = target_of(rectangle(7, 23, 7, 23, size_hw=(30, 30)))
    plan: list[Paste | None] = [Paste(1, (0,), (20, 20), (0, 0)), None]
    areas = [
        int(apply_plan(images, [target, source], plan, CopyPasteParams(reproduce=reproduce))[1][0]["masks"].sum())
        for reproduce in (False, True)
    ]
    exact = 16 * 16 * (2 / 3) ** 2
    assert abs(areas[0] - exact) < abs(areas[1] - exact)


def test_middle_of_odd_batch_is_own_source() -> None:
    images, targets = random_batch([(20, 24)] * 3, [2, 2, 2], seed=1)
    plan = draw_plan(images, targets, CopyPasteParams(), generator(0))
    assert [paste.source for paste in plan if paste] == [2, 1, 0]


@pytest.mark.parametrize(("available", "numbers"), [(1, {1}), (2, {1}), (4, {1, 2, 3})])
def test_random_number_is_never_all(available: int, numbers: set[int]) -> None:
    images, targets = random_batch([(20, 24)] * 2, [available] * 2, seed=1)
    plans = [draw_plan(images, targets, CopyPasteParams(), generator(s)) for s in range(60)]
    assert {len(paste.objects) for plan in plans for paste in plan if paste} == numbers


def test_without_random_number_all_objects_are_pasted() -> None:
    images, targets = random_batch([(20, 24)] * 2, [4, 3], seed=1)
    plan = draw_plan(images, targets, CopyPasteParams(random_num=False), generator(0))
    assert [sorted(paste.objects) for paste in plan if paste] == [[0, 1, 2], [0, 1, 2, 3]]


@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_rate_of_target_images(rate: float, share: float) -> None:
    images, targets = random_batch([(8, 8)] * 50, [1] * 50, seed=1)
    plan = [p for s in range(8) for p in draw_plan(images, targets, CopyPasteParams(rate=rate), generator(s))]
    assert sum(p is not None for p in plan) / len(plan) == pytest.approx(share, abs=0.08)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(2, 24), st.integers(2, 24)), min_size=1, max_size=4),
    counts=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    seed=st.integers(0, 10_000),
    reproduce=st.booleans(),
)
def test_any_batch_keeps_its_form(sizes: list[tuple[int, int]], counts: list[int], seed: int, reproduce: bool) -> None:
    images, targets = random_batch(sizes, counts[: len(sizes)], seed)
    given = [*images, *(target["masks"] for target in targets)]
    before = [tensor.clone() for tensor in given]
    params = CopyPasteParams(reproduce=reproduce)

    out, pasted = copy_paste(images, targets, params, generator(seed))
    again, _ = copy_paste(images, targets, params, generator(seed))

    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(out, again, strict=True))
    for image, new_image, new in zip(images, out, pasted, strict=True):
        assert new_image.shape == image.shape
        assert len(new["boxes"]) == len(new["labels"]) == len(new["masks"])
        assert torch.equal(new["boxes"], masks_to_boxes(new["masks"]))
        assert reproduce or bool(new["masks"].any(dim=2).any(dim=1).all())
        changed = (new_image != image).any(dim=0)
        assert not bool((changed & ~new["masks"].any(dim=0)).any())


@pytest.mark.gpu
def test_result_stays_on_device() -> None:
    images, targets = random_batch([(20, 24), (30, 18)], [2, 3], seed=1)
    expected, _ = copy_paste(images, targets, CopyPasteParams(), generator(0))
    on_gpu = [{k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in t.items()} for t in targets]
    out, pasted = copy_paste([i.cuda() for i in images], on_gpu, CopyPasteParams(), generator(0))
    assert all(t["masks"].is_cuda for t in pasted)
    assert all((a.cpu().int() - b.int()).abs().max() <= 1 for a, b in zip(out, expected, strict=True))


@pytest.mark.parametrize(
    "settings", [{"rate": 1.5}, {"ratio_min": 0.0}, {"ratio_min": 0.8, "ratio_max": 0.5}, {"ratio_max": 1.2}]
)
def test_refuse_invalid_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"augment\.copy_paste"):
        CopyPasteParams(**settings)


def test_scores_go_with_the_copies() -> None:
    """What has none counts as 1."""
    source, target = target_of(rectangle(0, 4, 0, 4), rectangle(0, 4, 5, 9)), target_of(rectangle(5, 8, 0, 4))
    source["scores"] = torch.tensor([0.25, 0.5])
    images, plan = [plain(0), plain(200)], [Paste(1, (1,), (8, 10), (0, 0)), None]
    _, (pasted, kept) = apply_plan(images, [target, source], plan, PASTE_ALL)
    assert pasted["scores"].tolist() == [1, 0.5]
    assert kept is source
    _, (pasted, _) = apply_plan(images, [source, target], [Paste(1, (0,), (8, 10), (0, 0)), None], PASTE_ALL)
    assert pasted["scores"].tolist() == [0.25, 0.5, 1]


def test_scores_of_covered_objects_go() -> None:
    covered, source = target_of(rectangle(0, 4, 0, 4), rectangle(6, 8, 6, 8)), target_of(rectangle(0, 5, 0, 5))
    covered["scores"], source["scores"] = torch.tensor([0.1, 0.2]), torch.tensor([0.3])
    plan = [Paste(1, (0,), (8, 10), (0, 0)), None]
    _, (pasted, _) = apply_plan(
        [plain(0), plain(200)], [covered, source], plan, CopyPasteParams(ratio_min=1.0, max_ioa=10.0)
    )
    assert pasted["scores"].tolist() == pytest.approx([0.2, 0.3])
