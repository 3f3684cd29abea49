"""Views of an image, mirrored and at other sizes, become its detections."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutler_pl.errors import ConfigError
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.config import make_config
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.tiled import TiledDetector
from cutler_pl.models.tta import AugmentedDetector, TtaParams
from cutler_pl.ops.tiles import TileParams

SIZE_HW = (40, 60)
IMAGE = torch.zeros(3, *SIZE_HW, dtype=torch.uint8)


def view(*detections: tuple[list[float], float, Tensor]) -> CompactPrediction:
    """Detections of one view: box, score and mask of each, of class 1."""
    return CompactPrediction(
        boxes=torch.tensor([one[0] for one in detections]).view(-1, 4),
        scores=torch.tensor([one[1] for one in detections]),
        labels=torch.ones(len(detections), dtype=torch.int64),
        mask_probabilities=torch.stack([one[2] for one in detections]) if detections else torch.zeros(0, 4, 4),
        size_hw=SIZE_HW,
    )


class Scripted(Detector):
    """Gives one prepared view after another; notes the scale of each call."""

    def __init__(self, *views: CompactPrediction) -> None:
        nn.Module.__init__(self)
        self.config = make_config("mask_rcnn_r50_fpn")
        self.views = list(views)
        self.scales: list[float] = []

    def predict(
        self, images: list[Tensor], *, score_threshold: float | None = None, scale: float = 1.0
    ) -> list[CompactPrediction]:
        self.scales.append(scale)
        return [self.views.pop(0) for _ in images]


HALF = torch.zeros(4, 4)
HALF[:, :2] = 0.9


def test_views_are_mirrored_back() -> None:
    """The left half of a box is the right half of the mirrored one, whose box begins at 60 - 30."""
    detector = AugmentedDetector(
        Scripted(view(([10.0, 5, 30, 25], 0.8, HALF)), view(([30.0, 5, 50, 25], 0.4, HALF.flip(1)))),
        TtaParams(merge="weighted_boxes"),
    )
    (found,) = detector.predict([IMAGE])
    torch.testing.assert_close(found["boxes"], torch.tensor([[10.0, 5, 30, 25]]))
    torch.testing.assert_close(found["scores"], torch.tensor([0.6]))
    torch.testing.assert_close(found["mask_probabilities"], HALF[None])


def test_masks_are_weighted_means() -> None:
    """(0.6 · 0.9 + 0.3 · 0.3) / 0.9 = 0.7, in the box that both agree on; a third object has its own mask."""
    box, full = [10.0, 5, 30, 25], torch.ones(4, 4)
    views = (view((box, 0.6, full * 0.9), ([40.0, 5, 50, 15], 0.8, full * 0.5)), view((box, 0.3, full * 0.3)))
    for merge, scores in (("weighted_boxes", [0.45, 0.4]), ("soft_nms", [0.8, 0.6])):
        params = TtaParams(flip=False, scales=(1.0, 2.0), merge=merge)
        (found,) = AugmentedDetector(Scripted(*views), params).predict([IMAGE], score_threshold=0.35)
        torch.testing.assert_close(found["scores"], torch.tensor(scores))
        masks = {score: mask[1, 1].item() for score, mask in zip(scores, found["mask_probabilities"], strict=True)}
        assert masks[scores[0 if merge == "weighted_boxes" else 1]] == pytest.approx(0.7)
        assert masks[scores[1 if merge == "weighted_boxes" else 0]] == pytest.approx(0.5)


def test_mask_follows_its_merged_box() -> None:
    """Boxes of two views, 4 pixels apart, of equal score: the half of the mean box is the mean of both halves."""
    views = (view(([8.0, 0, 24, 16], 0.5, HALF / 0.9)), view(([12.0, 0, 28, 16], 0.5, HALF / 0.9)))
    params = TtaParams(flip=False, scales=(1.0, 2.0), merge="weighted_boxes")
    (found,) = AugmentedDetector(Scripted(*views), params).predict([IMAGE])
    assert found["boxes"].tolist() == [[10, 0, 26, 16]]
    # cells of the mean box are 4 pixels wide, with centers at 12, 16, 20 and 24; the halves end at 16 and 20
    expected = torch.tensor([(1 + 0.5) / 2, (0.5 + 1) / 2, (0 + 0.5) / 2, 0.0])
    torch.testing.assert_close(found["mask_probabilities"][0], expected.expand(4, 4))


def test_images_of_a_batch_stay_apart() -> None:
    """Images with different numbers of detections, one with none."""
    box, full = [10.0, 5, 30, 25], torch.ones(4, 4)
    one, none = view((box, 0.6, full)), view()
    detector = Scripted(one, none, one, one, none, view())
    params = TtaParams(flip=False, scales=(0.5, 1.5), merge="weighted_boxes")
    found = AugmentedDetector(detector, params).predict([IMAGE] * 3)
    assert [len(prediction["boxes"]) for prediction in found] == [1, 0, 1]
    assert [prediction["scores"].tolist() for prediction in found] == [[pytest.approx(0.6)], [], [pytest.approx(0.3)]]
    assert detector.scales == [0.5, 1.5]


TINY: dict[str, Any] = {
    "num_classes": 2,
    "backbone": "resnet10_half",
    "fpn_channels": 32,
    "box_head_dim": 64,
    "mask_head_channels": 16,
    "max_detections": 8,
    "rpn_post_nms_test": 50,
}


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    return build_detector("mask_rcnn_r50_fpn", **TINY, min_size_test=32, max_size_test=48).eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return (torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)


@pytest.mark.parametrize("merge", ["weighted_boxes", "soft_nms"])
def test_one_view_is_the_plain_prediction(model: Detector, image: Tensor, merge: Any) -> None:
    params = TtaParams(flip=False, merge=merge, iou_threshold=1.0, decay="linear", decay_iou=1.0)
    (found,), (plain,) = AugmentedDetector(model, params).predict([image]), model.predict([image])
    for key in ("boxes", "scores", "labels", "mask_probabilities"):
        torch.testing.assert_close(found[key], plain[key], atol=1e-4, rtol=1e-4)


def test_scale_multiplies_the_test_size(model: Detector, image: Tensor) -> None:
    larger = build_detector("mask_rcnn_r50_fpn", **TINY, min_size_test=48, max_size_test=72).eval()
    larger.load_state_dict(model.state_dict())
    (scaled,), (expected,) = model.predict([image], scale=1.5), larger.predict([image])
    assert torch.equal(scaled["boxes"], expected["boxes"])
    assert not torch.equal(scaled["boxes"], model.predict([image])[0]["boxes"])


@pytest.mark.parametrize("merge", ["weighted_boxes", "soft_nms"])
def test_threshold_only_leaves_out(model: Detector, image: Tensor, merge: Any) -> None:
    detector = AugmentedDetector(model, TtaParams(scales=(1.0, 1.5), merge=merge))
    (everything,) = detector.predict([image])
    assert len(everything["scores"]) == 8
    middle = float(everything["scores"][3])
    (some,) = detector.predict([image], score_threshold=middle)
    assert some["scores"].tolist() == [score for score in everything["scores"].tolist() if score > middle]
    assert torch.equal(some["mask_probabilities"], everything["mask_probabilities"][: len(some["scores"])])


def test_mirrored_image_has_mirrored_detections(model: Detector, image: Tensor) -> None:
    detector = AugmentedDetector(model, TtaParams())
    (found,), (mirrored,) = detector.predict([image]), detector.predict([image.flip(-1)])
    x0, y0, x1, y1 = mirrored["boxes"].unbind(1)
    torch.testing.assert_close(torch.stack([70 - x1, y0, 70 - x0, y1], 1), found["boxes"], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(mirrored["scores"], found["scores"])


def test_tiles_of_an_augmented_detector(model: Detector) -> None:
    image = (torch.rand(3, 64, 100, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    detector = TiledDetector(AugmentedDetector(model, TtaParams()), TileParams(tile=64))
    (found,) = detector.predict([image])
    assert "masks" in found
    assert 0 < len(found["masks"]) <= 8
    assert found["size_hw"] == (64, 100)


def test_no_image_no_prediction(model: Detector) -> None:
    assert AugmentedDetector(model, TtaParams()).predict([]) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"scales": (0.0,)}, "scales=.*each a number from 0.1 to 4"),
        ({"scales": ()}, "scales=.*each a number"),
        ({"sigma": 0.0}, "sigma=0"),
        ({"iou_threshold": 1.5}, "iou_threshold=1.5"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TtaParams(**wrong)
