import copy

import pytest
import torch

from cutler_pl.models import Detector, build_detector
from cutler_pl.models.detector import to_prediction
from cutler_pl.models.droploss import DropLoss

ARCHITECTURES = ("cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn")
SMALL = {
    "backbone": "resnet18",
    "fpn_channels": 32,
    "box_head_dim": 32,
    "mask_head_channels": 16,
    "mask_head_convs": 1,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "rpn_pre_nms_train": 100,
    "rpn_pre_nms_test": 50,
    "rpn_post_nms_train": 100,
    "rpn_post_nms_test": 30,
    "roi_batch_per_image": 32,
    "max_detections": 10,
    "min_size_test": 64,
    "max_size_test": 128,
}
SIZES = [(60, 80), (90, 48)]


def _detector(name: str = ARCHITECTURES[0], num_classes: int = 1, **options: object) -> Detector:
    torch.manual_seed(0)
    return build_detector(name, num_classes, **SMALL | options)


def _images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]


def _target(size_hw: tuple[int, int], boxes: list[list[int]], label: int = 1) -> dict:
    masks = torch.zeros(len(boxes), *size_hw, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    labels = torch.full((len(boxes),), label, dtype=torch.int64)
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4), "labels": labels, "masks": masks}


def _targets(*boxes: list[list[int]], label: int = 1) -> list[dict]:
    return [_target(size, b, label) for size, b in zip(SIZES, boxes, strict=True)]


TWO_AND_ONE = ([[5, 5, 40, 50], [40, 20, 79, 59]], [[4, 10, 40, 80]])


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("num_classes", [1, 80])
def test_predictions_are_in_the_pixels_of_each_image(name, num_classes):
    predictions = _detector(name, num_classes).eval()(_images())
    for prediction, (height, width) in zip(predictions, SIZES, strict=True):
        count = len(prediction["boxes"])
        assert 0 < count <= 10
        assert prediction["boxes"].dtype == prediction["scores"].dtype == torch.float32
        assert (prediction["boxes"] >= 0).all()
        assert (prediction["boxes"][:, 2:] <= torch.tensor([width, height])).all()
        assert (prediction["scores"].diff() <= 0).all()
        assert prediction["labels"].dtype == torch.int64
        assert 1 <= prediction["labels"].min() <= prediction["labels"].max() <= num_classes
        assert prediction["masks"].shape == (count, height, width)
        assert prediction["masks"].dtype == torch.bool


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_image_is_predicted_as_if_alone(name):
    detector, images = _detector(name).eval(), _images()
    images = [images[0], images[0].flip(2)]
    together = detector.predict(images)
    for image, prediction in zip(images, together, strict=True):
        alone = detector.predict([image])[0]
        torch.testing.assert_close(prediction["boxes"], alone["boxes"], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(prediction["scores"], alone["scores"], rtol=0, atol=1e-4)


def test_no_images_give_no_predictions():
    assert _detector().eval()([]) == []


def test_compact_predictions_become_full_ones():
    detector, images = _detector().eval(), _images()
    compact, full = detector.predict(images)[1], detector(images)[1]
    assert compact["size_hw"] == SIZES[1]
    assert compact["mask_probabilities"].shape == (len(full["boxes"]), 28, 28)
    assert all(torch.equal(full[key], value) for key, value in to_prediction(compact).items())


def test_nothing_above_the_threshold_is_an_empty_prediction():
    for prediction in _detector(score_threshold=1.0).eval()(_images()):
        assert prediction["boxes"].shape == (0, 4)
        assert prediction["labels"].shape == prediction["scores"].shape == (0,)
        assert prediction["masks"].shape[0] == 0


def test_weights_without_any_proposal_are_an_empty_prediction():
    detector = _detector().eval()
    with torch.no_grad():
        detector.rpn.head.objectness_logits.bias.fill_(torch.nan)
    assert [len(p["boxes"]) for p in detector(_images())] == [0, 0]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "boxes", [TWO_AND_ONE, (TWO_AND_ONE[0], []), ([], [])], ids=["both", "second empty", "both empty"]
)
def test_losses_are_finite_and_reach_every_parameter(name, boxes):
    detector = _detector(name, classification_weights=DropLoss())
    losses = detector(_images(), _targets(*boxes))
    stages = [f"_stage{k}" for k in range(3)] if name.startswith("cascade") else [""]
    heads = {f"loss_{part}{stage}" for part in ("cls", "box_reg") for stage in stages}
    assert losses.keys() == {"loss_rpn_cls", "loss_rpn_loc", "loss_mask"} | heads
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_without_ground_truth_only_classification_is_learnt():
    losses = _detector()(_images(), _targets([], []))
    zero = {name for name, loss in losses.items() if loss == 0}
    assert zero == {"loss_rpn_loc", "loss_mask", *(f"loss_box_reg_stage{k}" for k in range(3))}


def test_training_lowers_the_loss_on_one_batch():
    detector, images, targets = _detector(norm="gn"), _images(), _targets(*TWO_AND_ONE)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for step in range(5):
        detector.reseed([(0, step, place) for place in range(len(images))])
        total = sum(detector(images, targets).values())
        totals.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[-1] < 0.9 * totals[0]


def test_eighty_classes_learn_their_own_mask():
    detector = _detector(num_classes=80)
    detector(_images(), _targets(*TWO_AND_ONE, label=7))["loss_mask"].backward()
    used = detector.roi_heads.mask_head.predictor.weight.grad.flatten(1).any(dim=1)
    assert torch.nonzero(used).flatten().tolist() == [6]


def test_reseeding_repeats_a_step():
    detector, images, targets = _detector(norm="gn"), _images(), _targets(*TWO_AND_ONE)

    def step(*key: int) -> dict[str, torch.Tensor]:
        detector.reseed([(*key, place) for place in range(len(images))])
        return detector(images, targets)

    first, other, again = step(1, 2), step(1, 3), step(1, 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_autocast_keeps_boxes_scores_and_losses_in_float32():
    detector, images = _detector(norm="gn"), _images()
    plain = detector.eval().predict(images)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = detector.predict(images)[0]
        losses = detector.train()(images, _targets(*TWO_AND_ONE))
        sum(losses.values()).backward()
    assert prediction["boxes"].dtype == prediction["scores"].dtype == torch.float32
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert prediction["scores"][0].item() == pytest.approx(plain["scores"][0].item(), abs=0.05)


def test_memory_layout_makes_no_difference():
    images = _images()
    last, plain = (_detector(channels_last=layout).eval().predict(images)[0] for layout in (True, False))
    torch.testing.assert_close(last["boxes"], plain["boxes"], rtol=0, atol=1e-2)
    torch.testing.assert_close(last["scores"], plain["scores"], rtol=0, atol=1e-4)


def test_input_errors_name_the_image():
    detector = _detector().eval()
    with pytest.raises(TypeError, match=r"image 1 has dtype torch\.float32; expected uint8 RGB"):
        detector([_images()[0], torch.rand(3, 20, 20)])
    with pytest.raises(ValueError, match="image 0 has shape"):
        detector([torch.zeros(20, 20, dtype=torch.uint8)])


def test_training_and_prediction_are_kept_apart():
    detector = _detector()
    with pytest.raises(RuntimeError, match=r"call eval\(\)"):
        detector.predict(_images())
    with pytest.raises(ValueError, match="one target for each: found 2 and none"):
        detector(_images())
    with pytest.raises(ValueError, match="found 2 and 1"):
        detector(_images(), _targets(*TWO_AND_ONE)[:1])


def test_copy_without_saved_constants():
    """A copy has the same weights; constants are not saved."""
    detector = _detector().eval()
    twin = copy.deepcopy(detector)
    torch.testing.assert_close(twin.predict(_images())[0]["boxes"], detector.predict(_images())[0]["boxes"])
    assert not {"pixel_mean", "pixel_std", "rpn.cells"} & detector.state_dict().keys()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gpu_predicts_and_learns_what_the_cpu_does(name):
    images, targets = _images(), _targets(*TWO_AND_ONE)
    cpu, gpu = _detector(name).eval(), _detector(name).eval().cuda()
    expected, found = cpu.predict(images)[0], gpu.predict([image.cuda() for image in images])[0]
    torch.testing.assert_close(found["scores"].cpu(), expected["scores"], rtol=0, atol=2e-3)
    on_gpu = [{key: value.cuda() for key, value in target.items()} for target in targets]
    losses = gpu.train()([image.cuda() for image in images], on_gpu)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gpu.parameters())
