"""What the API answers: the JSON of detections and masks, equal to what the Python API gives."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutler_pl import CutLER, MaskCut
from cutler_pl.commands.serve import shown_name
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.web.api import Cutting, Detection, ServerOptions, build_app
from tests.web.serving import Client, served

SIZE_HW = (96, 128)


@pytest.fixture(scope="module")
def detector() -> CutLER:
    return CutLER.from_pretrained("tiny_generated", device="cpu", min_size_test=96, max_size_test=128)


@pytest.fixture(scope="module")
def maskcut() -> MaskCut:
    params = MaskCutParams(tau=0.8, max_ncut_value=0.2)
    extractor = build_feature_extractor("patch_descriptors")
    return MaskCut.from_features(extractor, name="small", params=params, fixed_size=96, device="cpu")


@pytest.fixture(scope="module")
def client(detector: CutLER, maskcut: MaskCut) -> Iterator[Client]:
    app = build_app([Detection(detector, model="tiny_generated"), Cutting(maskcut)], ServerOptions())
    with served(app) as one:
        yield one


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "images"
    write_scenes(folder, 1, SceneParams(height=SIZE_HW[0], width=SIZE_HW[1], min_objects=3), seed=0)
    return next(folder.iterdir())


def test_detections_equal_python_api(client: Client, detector: CutLER, scene: Path) -> None:
    answer = client.post("/predict", scene.read_bytes())
    expected = detector.predict(scene)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["width", "height", "model", "detections"]
    assert (answer.json["width"], answer.json["height"], answer.json["model"]) == (128, 96, "tiny_generated")
    found = answer.json["detections"]
    assert found
    for one, record in zip(found, expected.to_coco(image_id=1), strict=True):
        assert list(one) == ["bbox", "score", "category_id", "category_name", "segmentation"]
        assert one["category_name"] == "fg"
        assert one["segmentation"] == record["segmentation"]
        assert one["category_id"] == record["category_id"]
        np.testing.assert_allclose(one["bbox"], record["bbox"], rtol=1e-5)
        assert one["score"] == pytest.approx(record["score"])


def test_masks_equal_python_api(client: Client, maskcut: MaskCut, scene: Path) -> None:
    answer = client.post("/maskcut", scene.read_bytes(), num_masks=2, tau="0.7", stop="adaptive")
    params = MaskCutParams(num_masks=2, tau=0.7, stop="adaptive", max_ncut_value=maskcut.params.max_ncut_value)
    expected = maskcut.with_params(params).predict(scene).to_coco(image_id=1)
    assert answer.json["model"] == "small"
    assert [one["segmentation"] for one in answer.json["detections"]] == [one["segmentation"] for one in expected]
    raw = client.post("/maskcut", scene.read_bytes(), num_masks=2, tau="0.7", stop="adaptive", crf="false")
    assert raw.status == 200
    assert raw.json["detections"] != answer.json["detections"]


def test_parameters_do_not_stay(maskcut: MaskCut, scene: Path) -> None:
    before = maskcut.predict(scene).to_coco(image_id=1)
    cut = maskcut.with_params(MaskCutParams(num_masks=1, tau=0.5), crf=False)
    assert len(cut.predict(scene)) <= 1
    assert maskcut.params.num_masks == 3
    assert maskcut.predict(scene).to_coco(image_id=1) == before


def test_options_choose_detections(client: Client, scene: Path) -> None:
    every = client.post("/predict", scene.read_bytes(), score_threshold=0).json["detections"]
    scores = [one["score"] for one in every]
    assert scores == sorted(scores, reverse=True)
    threshold = scores[len(scores) // 2]
    some = client.post("/predict", scene.read_bytes(), score_threshold=threshold, max_detections="").json["detections"]
    assert some == [one for one in every if one["score"] > threshold]
    assert client.post("/predict", scene.read_bytes(), max_detections=2).json["detections"] == every[:2]


def test_lower_threshold_changes_no_neighbor(detector: CutLER, scene: Path) -> None:
    """Requests of different options share a batch."""
    endpoint = Detection(detector, model="m")
    image = np.asarray(Image.open(scene).convert("RGB"))
    high, low = (endpoint.options(score_threshold=threshold) for threshold in (0.5, 0.0))
    (alone,) = endpoint.predict([image], [high])
    together, every = endpoint.predict([image, image], [high, low])
    assert len(every) > len(together)
    assert [one["segmentation"] for one in together.to_coco(1)] == [one["segmentation"] for one in alone.to_coco(1)]


def test_sizes_are_those_of_the_upright_image(client: Client, scene: Path) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.open(scene).convert("RGB").save(file, "JPEG", exif=exif)
    answer = client.post("/predict", file.getvalue())
    assert (answer.json["width"], answer.json["height"]) == SIZE_HW
    assert all(one["segmentation"]["size"] == [SIZE_HW[1], SIZE_HW[0]] for one in answer.json["detections"])


def test_model_is_named_without_its_folder(scene: Path) -> None:
    names = ["tiny_generated", "owner/name@main", "https://example.org/a/b.pth", str(scene), str(scene.parent)]
    assert [*map(shown_name, names)] == ["tiny_generated", "owner/name@main", "b", scene.stem, "images"]
