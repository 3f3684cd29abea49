"""Inference equals the original's, stage by stage, with weights made by the golden rule."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import deviations
import golden_set
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from cutler_pl.images import read_image
from cutler_pl.models.image_batch import clip_bounds
from cutler_pl.models.pooler import to_rois
from cutler_pl.ops.boxes import box_iou, clip_boxes
from cutler_pl.ops.paste import paste_masks
from cutler_pl.ops.resize import resize_image, resized_size_hw

pytestmark = pytest.mark.golden

MODELS = {"cascade": "cascade_imagenet", "maskrcnn": "mask_rcnn_imagenet"}
FEATURE_ATOL = SCORE_ATOL = 2e-3
BOX_ATOL_PIXELS = 0.2
QUICK = ("cascade_synth0", "cascade_demo1", "maskrcnn_synth0")
NAMES = [stem.removeprefix("infer_") for stem in golden_set.names("detector/infer_*.json")]
CASES = [
    *(pytest.param((name, "cpu"), marks=[] if name in QUICK else [pytest.mark.slow], id=name) for name in NAMES),
    *(pytest.param((name, "cuda"), marks=pytest.mark.gpu, id=f"{name}-cuda") for name in NAMES),
]


@pytest.fixture(autouse=True, scope="module")
def _no_tf32() -> Iterator[None]:
    """The numbers are those of float32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture(scope="module")
def detectors(golden_detector):
    """The last detector used is kept, so that only one lies in memory."""
    kept = {}

    def get(model: str):
        if model not in kept:
            kept.clear()
            kept[model] = golden_detector(MODELS[model])
        return kept[model]

    return get


@pytest.fixture(scope="module", params=CASES)
def case(request, golden_dir: Path, detectors) -> SimpleNamespace:
    """One prediction, with what the backbone and the RPN said on the way, and the golden numbers beside it."""
    name, device = request.param
    if device == "cuda" and not torch.cuda.is_available():  # module fixtures come before the skip of a test
        pytest.skip("needs a CUDA device: runs where torch.cuda.is_available()")
    model, photo = name.split("_")
    folder = golden_dir / "detector"
    arrays = np.load(folder / f"infer_{name}.npz")
    facts = json.loads((folder / f"infer_{name}.json").read_text())
    image = _image(golden_dir, photo).to(device)
    detector, seen = detectors(model).to(device), {}
    hooks = [
        detector.backbone.body.register_forward_hook(lambda *call: seen.update(maps=call[2])),
        detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.update(pixels=inputs[0])),
        detector.backbone.register_forward_hook(lambda *call: seen.update(features=call[2])),
        detector.rpn.register_forward_hook(lambda *call: seen.update(rpn=call[2])),
    ]
    with torch.inference_mode():
        prediction = detector.predict([image])[0]
    for hook in hooks:
        hook.remove()
    return SimpleNamespace(
        model=model,
        device=device,
        detector=detector,
        arrays=arrays,
        facts=facts,
        image=image,
        prediction=prediction,
        **seen,
    )


def _image(golden_dir: Path, photo: str) -> torch.Tensor:
    if photo == "synth0":
        pixels = np.load(golden_dir / "detector" / "infer_cascade_synth0.npz")["image_uint8_rgb"]
    else:
        pixels = read_image(golden_dir / "photos" / f"{photo}.jpg")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _assert_close(ours: torch.Tensor, golden: np.ndarray, atol: float = FEATURE_ATOL) -> None:
    if golden.size:
        deviations.note(
            {BOX_ATOL_PIXELS: "pixels"}.get(atol, "values"), np.abs(ours.cpu().numpy() - golden).max(), atol
        )
    np.testing.assert_allclose(ours.cpu().numpy(), golden, rtol=0, atol=atol)


def test_resized_pixels_are_bit_equal_to_the_original(case):
    size = resized_size_hw(tuple(case.facts["orig_hw"]), shortest=800, longest=1333)
    assert list(size) == case.facts["resized_hw"]
    resized = resize_image(case.image, size)
    assert hashlib.sha256(resized.cpu().numpy().tobytes()).hexdigest() == case.facts["resized_uint8_chw"]["sha256"]


def test_normalised_batch_has_the_same_values(case):
    assert list(case.pixels.shape[2:]) == case.facts["padded_hw"]
    _assert_close(case.pixels[0, :, 100:132, 100:132], case.arrays["normalized_crop"], atol=1e-6)
    assert case.pixels.double().sum().item() == pytest.approx(case.facts["normalized_padded"]["sum"], rel=1e-6)


def test_feature_maps(case):
    if case.model != "cascade":
        assert all(torch.isfinite(level).all() for level in case.features)
        return
    for i, level in enumerate(case.maps):
        _assert_close(level[0, :8, :16, :16], case.arrays[f"bottomup_res{i + 2}_slice"])
    for i, level in enumerate(case.features):
        assert list(level.shape) == case.facts[f"fpn_p{i + 2}"]["shape"]
        assert level.std().item() == pytest.approx(case.facts[f"fpn_p{i + 2}"]["std"], abs=1e-4)
        _assert_close(level[0, :8, :16, :16], case.arrays[f"fpn_p{i + 2}_slice"])


def test_anchors_logits_and_deltas_of_every_level(case):
    for i, (anchors, logits, deltas) in enumerate(zip(*case.rpn, strict=True)):
        height, width = case.features[i].shape[2:]
        assert len(anchors) == height * width * 3
        if case.model != "cascade":
            continue
        assert torch.equal(anchors[:12].cpu(), torch.from_numpy(case.arrays[f"anchors_p{i + 2}_first12"]))
        shape = (height, width, -1)
        _assert_close(logits.view(shape).permute(2, 0, 1)[:, :16, :16], case.arrays[f"rpn_logits_p{i + 2}_slice"])
        _assert_close(deltas.view(shape).permute(2, 0, 1)[:, :16, :16], case.arrays[f"rpn_deltas_p{i + 2}_slice"])


def test_best_proposals(case):
    proposals = case.detector.rpn.propose(
        case.rpn, clip_bounds([tuple(case.facts["resized_hw"])], torch.device(case.device))
    )[0]
    assert len(proposals.boxes) == case.facts["n_proposals"]
    best = box_iou(torch.from_numpy(case.arrays["rpn_boxes_top100"]), proposals.boxes.cpu()).max(dim=1)
    assert (best.values > 0.99).sum() >= 98
    matched = best.values > 0.99
    _assert_close(
        proposals.logits.cpu()[best.indices[matched]],
        case.arrays["rpn_logits_top100"][matched.numpy()],
        atol=FEATURE_ATOL,
    )


def test_each_stage_on_fixed_proposals(case):
    """Each stage gets the golden boxes: the number of samples in a cell jumps where a box is a whole number wide."""
    boxes, stages = torch.from_numpy(case.arrays["fixed_proposals"]).to(case.device), case.detector.roi_heads.stages
    with torch.inference_mode():
        for k in range(len(stages)):
            prefix = f"stage{k}_" if case.model == "cascade" else ""
            if case.model == "cascade":
                golden_boxes = case.arrays[f"{prefix}in_boxes"]
                _assert_close(boxes, golden_boxes, BOX_ATOL_PIXELS)
                boxes = torch.from_numpy(golden_boxes).to(case.device)
            output = stages(case.features, to_rois([boxes]), k)
            _assert_close(output.logits, case.arrays[f"{prefix}cls_logits"])
            _assert_close(output.deltas, case.arrays[f"{prefix}deltas"])
            if case.model == "cascade":
                _assert_close(output.boxes[:, 0], case.arrays[f"{prefix}pred_boxes_unclipped"], BOX_ATOL_PIXELS)
            boxes = clip_boxes(output.boxes[:, 0], tuple(case.facts["resized_hw"]))


def test_mask_logits_on_fixed_boxes(case):
    boxes = torch.from_numpy(case.arrays["mask_fixed_boxes"]).to(case.device)
    with torch.inference_mode():
        logits = case.detector.roi_heads.mask_logits(case.features, to_rois([boxes]))
    _assert_close(logits[:, 0], case.arrays["mask_fixed_logits"], atol=5e-3)


def test_detections_and_masks(case):
    golden = torch.from_numpy(case.arrays["det_boxes_orig"])
    ours = {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in case.prediction.items()}
    assert len(ours["boxes"]) == case.facts["n_after_postprocess"] == len(golden)
    assert (ours["labels"] == 1).all()
    best = box_iou(golden, ours["boxes"]).max(dim=1)
    matched = torch.nonzero(best.values > 0.99)[:, 0]
    assert len(matched) >= 98
    photo_per_network = case.facts["orig_hw"][0] / case.facts["resized_hw"][0]
    for i, j in zip(matched.tolist(), best.indices[matched].tolist(), strict=True):
        _assert_close(ours["boxes"][j], golden[i].numpy(), BOX_ATOL_PIXELS * max(1, photo_per_network))
        _assert_close(ours["scores"][j], case.arrays["det_scores_orig"][i], SCORE_ATOL)
        mask = paste_masks(ours["mask_probabilities"][j : j + 1], ours["boxes"][j : j + 1], ours["size_hw"])[0]
        fact = case.facts["masks"][i]
        assert mask.sum().item() == pytest.approx(fact["area"], rel=0.02, abs=4)
        if "counts" in fact:
            rle = coco_mask.encode(np.asfortranarray(mask.numpy().view(np.uint8)))
            theirs = {"size": fact["size"], "counts": fact["counts"].encode()}
            iou = coco_mask.iou([rle], [theirs], [0])[0, 0]
            deviations.note("1 - mask IoU", 1 - iou, 0.02)
            assert iou >= 0.98
