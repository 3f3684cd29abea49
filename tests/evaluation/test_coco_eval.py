import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cutler_pl.coco import rle, save_coco
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.evaluation import NOT_MEASURED, EvalParams, compare, evaluate_coco

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
HEIGHT, WIDTH = 120, 160


def reference(
    truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str, max_dets: tuple[int, int, int], agnostic: bool
) -> list[float]:
    """The twelve numbers of pycocotools, in percent; sizes of detected masks are those of the masks."""
    truth, results = copy.deepcopy((truth, results))
    if iou_type == "segm":
        results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
    if agnostic:
        for record in (*truth["annotations"], *results):
            record["category_id"] = 1
        truth["categories"] = [{"id": 1, "name": "object"}]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(results), iou_type)
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
        # pycocotools' summary looks for 100 detections by name; taking the means by hand allows any number.
        precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    parts = [precision[:, :, :, 0, -1], precision[0, :, :, 0, -1], precision[5, :, :, 0, -1]]
    parts += [precision[:, :, :, area, -1] for area in (1, 2, 3)]
    parts += [recall[:, :, 0, m] for m in range(3)] + [recall[:, :, area, -1] for area in (1, 2, 3)]
    return [100 * float(np.mean(p[p > -1])) if (p > -1).any() else NOT_MEASURED for p in parts]


def box_record(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + height, x : x + width] = True
    mask[y, x] = False  # so that mask and box have different areas
    return {"bbox": [float(x), float(y), float(width), float(height)], "segmentation": rle.encode(mask)}


def annotation(number: int, image_id: int, *box: int, crowd: int = 0, category: int = 1) -> dict[str, Any]:
    record = {"id": number, "image_id": image_id, "category_id": category, "iscrowd": crowd} | box_record(*box)
    return record | {"area": rle.area(record["segmentation"])}


def detection(image_id: int, score: float, *box: int, category: int = 1) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category, "score": score} | box_record(*box)


def coco(*annotations: dict[str, Any], images: int = 3, categories: int = 2) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)],
        "annotations": list(annotations),
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, categories + 1)],
    }


BOXES = st.tuples(st.integers(0, 40), st.integers(0, 10), st.integers(2, 110), st.integers(2, 105))
SCENES = st.lists(st.tuples(st.integers(1, 3), BOXES, st.sampled_from([0, 0, 0, 1]), st.integers(1, 2)), max_size=8)
SHIFTS = st.tuples(*[st.integers(-3, 3)] * 4)
FOUND = st.lists(
    st.tuples(st.integers(0, 7), SHIFTS, st.sampled_from([0.1, 0.5, 0.5, 0.9]), st.integers(1, 2)), max_size=14
)


def scene(objects: Any, found: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth, and detections near it: box sides moved by up to three pixels, many ties among the scores."""
    truth = coco(*(annotation(n, i, *box, crowd=c, category=k) for n, (i, box, c, k) in enumerate(objects, 1)))
    results = []
    for index, shift, score, category in found:
        image_id, box = objects[index % len(objects)][:2] if objects else (1, (5, 5, 9, 9))
        moved = [max(low, side + by) for side, by, low in zip(box, shift, (0, 0, 2, 2), strict=True)]
        results.append(detection(image_id, score, *moved, category=category))
    return truth, results


@pytest.mark.parametrize("agnostic", [True, False])
@settings(max_examples=25, deadline=None)
@given(objects=SCENES, found=FOUND, max_dets=st.sampled_from([(1, 10, 100), (1, 2, 3), (1, 10, 300)]))
def test_metrics_equal_pycocotools(objects: Any, found: Any, max_dets: Any, agnostic: bool) -> None:
    truth, results = scene(objects, found)
    curves = compare(truth, results, EvalParams(class_agnostic=agnostic, max_dets=max_dets)).curves
    for iou_type, curve in curves.items():
        if results:
            expected = reference(truth, results, iou_type, max_dets, agnostic)
            np.testing.assert_allclose(list(curve.summary().values()), expected, rtol=0, atol=1e-9)
        else:
            assert set(curve.summary().values()) <= {0.0, NOT_MEASURED}


def test_perfect_and_blind_detector() -> None:
    truth = coco(annotation(1, 1, 5, 5, 20, 20), annotation(2, 2, 5, 5, 60, 60))
    perfect = evaluate_coco(truth, truth)
    assert perfect["bbox"] == {
        "AP": 100.0,
        "AP50": 100.0,
        "AP75": 100.0,
        "APs": 100.0,
        "APm": 100.0,
        "APl": NOT_MEASURED,
        "AR1": 100.0,
        "AR10": 100.0,
        "AR100": 100.0,
    }
    blind = evaluate_coco(truth, [])
    assert blind["segm"] == {name: value and min(value, 0.0) for name, value in perfect["segm"].items()}


def test_one_of_two_objects_by_hand() -> None:
    truth = coco(annotation(1, 1, 0, 0, 40, 40), annotation(2, 2, 0, 0, 40, 40))
    metrics = evaluate_coco(truth, [detection(1, 0.9, 0, 0, 40, 30)], iou_types=["bbox"])["bbox"]
    # Recall 1/2 at thresholds 0.50 … 0.75 (6 of 10); precision 1 at the 51 recalls 0.00 … 0.50 of 101.
    assert metrics["AR1"] == pytest.approx(100 * 0.5 * 6 / 10)
    assert metrics["AP50"] == pytest.approx(100 * 51 / 101)
    assert metrics["AP"] == pytest.approx(100 * 51 / 101 * 6 / 10)


def test_class_agnostic_merges_categories() -> None:
    truth = coco(annotation(1, 1, 5, 5, 20, 20, category=2))
    results = [detection(1, 0.9, 5, 5, 20, 20, category=1)]
    assert evaluate_coco(truth, results)["bbox"]["AP"] == 100.0
    assert evaluate_coco(truth, results, class_agnostic=False)["bbox"]["AP"] == 0.0
    unknown = [results[0] | {"category_id": 77}]
    assert evaluate_coco(truth, unknown)["bbox"]["AP"] == 100.0
    with pytest.raises(AnnotationError, match="unknown category 77"):
        evaluate_coco(truth, unknown, class_agnostic=False)


def test_detections_in_crowds_are_ignored() -> None:
    truth = coco(annotation(1, 1, 0, 0, 100, 100, crowd=1), annotation(2, 1, 110, 0, 40, 40))
    results = [detection(1, 0.9, 10, 10, 20, 20), detection(1, 0.8, 110, 0, 40, 40)]
    assert evaluate_coco(truth, results)["bbox"]["AP"] == 100.0


def test_sizes_of_boxes_and_masks() -> None:
    """A mask of 1 pixel in a box of 40 × 40: medium as a box, small as a mask."""
    truth = coco(annotation(1, 1, 0, 0, 40, 40))
    thin = box_record(5, 5, 2, 1) | {"bbox": [100.0, 70.0, 40.0, 40.0], "image_id": 1, "category_id": 1, "score": 0.9}
    results = [thin, detection(1, 0.5, 0, 0, 40, 40)]
    metrics = evaluate_coco(truth, results)
    assert metrics["bbox"]["APm"] == pytest.approx(50.0)
    assert metrics["segm"]["APm"] == 100.0  # the small mask is no false positive among medium objects


def test_nothing_measured_without_ground_truth() -> None:
    for results in ([], [detection(1, 0.9, 5, 5, 20, 20)]):
        metrics = evaluate_coco(coco(), results)
        assert set(metrics["bbox"].values()) == set(metrics["segm"].values()) == {NOT_MEASURED}
        json.dumps(metrics, allow_nan=False)
    assert set(evaluate_coco(coco(images=0), [])["bbox"].values()) == {NOT_MEASURED}


def test_annotation_id_0_counts() -> None:
    truth = coco(annotation(0, 1, 5, 5, 20, 20))
    assert evaluate_coco(truth, [detection(1, 0.9, 5, 5, 20, 20)])["bbox"]["AP"] == 100.0


def test_recall_follows_max_dets() -> None:
    truth = coco(*(annotation(n, 1, 30 * n, 5, 20, 20) for n in range(1, 5)))
    results = [detection(1, 0.9 - n / 10, 30 * n, 5, 20, 20) for n in range(1, 5)]
    metrics = evaluate_coco(truth, results, max_dets=(1, 3))["bbox"]
    assert list(metrics) == [*METRICS, "AR1", "AR3"]
    assert (metrics["AR1"], metrics["AR3"]) == (25.0, 75.0)
    assert metrics["AP50"] == pytest.approx(100 * 76 / 101)  # the recalls 0.00 … 0.75


def test_ap_max_dets_beside_larger_recall() -> None:
    boxes = [(x, y, 3, 3) for x in range(0, 150, 8) for y in range(0, 110, 8)][:200]
    truth = coco(*(annotation(n, 1, *box) for n, box in enumerate(boxes, 1)))
    results = [detection(1, 1 - n / 1000, *box) for n, box in enumerate(boxes)]
    curves = compare(truth, results, EvalParams(["bbox"], max_dets=(1, 10, 100, 300))).curves["bbox"]
    assert curves.summary()["AP50"] == 100.0
    metrics = curves.summary(ap_max_dets=100)
    assert (metrics["AR100"], metrics["AR300"]) == (50.0, 100.0)
    assert metrics["AP50"] == evaluate_coco(truth, results, iou_types=["bbox"])["bbox"]["AP50"]


def test_metrics_per_category() -> None:
    truth = coco(annotation(1, 1, 5, 5, 20, 20, category=1), annotation(2, 2, 5, 5, 20, 20, category=2))
    results = [detection(1, 0.9, 5, 5, 20, 20, category=1)]
    curves = compare(truth, results, EvalParams(class_agnostic=False)).curves["bbox"]
    by_name = curves.per_category()
    assert {name: metrics["AP"] for name, metrics in by_name.items()} == {"class 1": 100.0, "class 2": 0.0}
    assert curves.summary()["AP"] == 50.0
    np.testing.assert_allclose(curves.precision_at(0.5), 0.5)


@pytest.mark.parametrize("side", ["ground-truth annotation 1", "detection 0"])
def test_missing_masks_are_named(side: str) -> None:
    truth, results = coco(annotation(1, 1, 5, 5, 20, 20)), [detection(1, 0.9, 5, 5, 20, 20)]
    del (truth["annotations"][0] if side.startswith("ground") else results[0])["segmentation"]
    with pytest.raises(AnnotationError, match=rf"{side} \(image 1\) has no mask.*iou_types=\[\"bbox\"\]"):
        evaluate_coco(truth, results)
    assert evaluate_coco(truth, results, iou_types=("bbox",))["bbox"]["AP"] == 100.0


@pytest.mark.parametrize("iou_types", [(), ("box",), ("bbox", "keypoints"), "segm"])
def test_unknown_iou_types_raise(iou_types: Any) -> None:
    with pytest.raises(ConfigError, match="iou_types="):
        evaluate_coco(coco(), [], iou_types=iou_types)


@pytest.mark.parametrize("max_dets", [(), (0, 10), (10, 1), (1, 1)])
def test_falling_max_dets_raise(max_dets: Any) -> None:
    with pytest.raises(ConfigError, match="max_dets="):
        evaluate_coco(coco(), [], max_dets=max_dets)


def test_files_are_read_silently(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth, results = coco(annotation(1, 1, 5, 5, 20, 20)), [detection(1, 0.9, 6, 5, 20, 20)]
    before = copy.deepcopy((truth, results))
    from_memory = evaluate_coco(truth, results)
    assert (truth, results) == before
    save_coco(tmp_path / "truth.json", truth)
    save_coco(tmp_path / "results.json", results)
    assert evaluate_coco(tmp_path / "truth.json", str(tmp_path / "results.json")) == from_memory
    assert capfd.readouterr() == ("", "")


def test_invalid_detections_skipped_on_request() -> None:
    truth, results = coco(annotation(1, 1, 5, 5, 20, 20)), [detection(9, 0.9, 5, 5, 20, 20)]
    with pytest.raises(AnnotationError, match="unknown image 9"):
        evaluate_coco(truth, results)
    assert compare(truth, results, on_error="skip").curves["bbox"].summary()["AP"] == 0.0


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", ["default_fast_coco_eval", "pycocotools", "no_segm", "maxdet300", "pred_truncated_top30_per_image"]
)
def test_golden_metrics(golden_dir: Path, case: str) -> None:
    folder = golden_dir / "detector"
    golden = json.loads((folder / "eval_results.json").read_text())[case]
    results = json.loads((folder / "eval_pred.json").read_text())
    if case == "pred_truncated_top30_per_image":
        groups: dict[int, list[Any]] = {}
        for result in results:
            groups.setdefault(result["image_id"], []).append(result)
        results = [r for group in groups.values() for r in sorted(group, key=lambda r: -r["score"])[:30]]
    max_dets = (1, 10, 300) if case == "maxdet300" else (1, 10, 100)
    iou_types = tuple(golden["stats12"])
    metrics = evaluate_coco(folder / "eval_gt.json", results, iou_types=iou_types, max_dets=max_dets)
    assert set(metrics) == set(golden["results"])
    params = EvalParams(iou_types, max_dets=max_dets)
    for iou_type, curve in compare(folder / "eval_gt.json", results, params).curves.items():
        expected = 100 * np.array(golden["stats12"][iou_type])
        np.testing.assert_allclose(list(curve.summary().values()), expected, rtol=0, atol=1e-9)
        for name, value in golden["results"][iou_type].items():
            assert metrics[iou_type][name] == pytest.approx(value, abs=1e-9)


@pytest.mark.golden
def test_no_detections_are_0_not_nan(golden_dir: Path) -> None:
    metrics = evaluate_coco(golden_dir / "detector" / "eval_gt.json", [])
    assert set(metrics["bbox"].values()) == set(metrics["segm"].values()) == {0.0}


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        "coco_mini/annotations/instances.json",
        "lvis_mini/lvis_v0.5_val_subset.json",
        "uvo_mini/DERIVED_rle_cls_agnostic_from_coco.json",
    ],
)
def test_real_ground_truth(data_dir: Path, name: str) -> None:
    truth = json.loads((data_dir / name).read_text())
    assert evaluate_coco(truth, truth)["segm"]["AP"] == 100.0
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    rng = np.random.default_rng(0)
    results = []
    for record in truth["annotations"]:
        mask = rle.decode(rle.to_rle(record["segmentation"], *sizes[record["image_id"]]))
        moved = rle.encode(np.roll(mask, rng.integers(-6, 7, 2), axis=(0, 1)))
        detected = {"image_id": record["image_id"], "category_id": record["category_id"], "bbox": rle.bbox(moved)}
        results.append(detected | {"score": round(rng.random(), 2), "segmentation": moved})
    for record in truth["annotations"]:
        record.setdefault("iscrowd", 0)
    curves = compare(truth, results).curves
    for iou_type, curve in curves.items():
        expected = reference(truth, results, iou_type, (1, 10, 100), True)
        np.testing.assert_allclose(list(curve.summary().values()), expected, rtol=0, atol=1e-9)
        assert 5 < curve.summary()["AP"] < 95
