import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from cutler_pl.data.instances import InstanceDataset, Sample, collate, collate_plain
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams
from cutler_pl.ops.boxes import masks_to_boxes


def dataset(images: Path, annotations: Path, **more: Any) -> InstanceDataset:
    training_set = TrainingSet(
        images=images, annotations=annotations, class_agnostic=more.pop("class_agnostic", True), filter_empty=False,
        index_dir=more.pop("index_dir", None), relative_scores=more.pop("relative_scores", False),
    )  # fmt: skip
    seed = more.pop("seed", 0)
    transforms = TrainTransformParams(**({"train_sizes": (20, 32), "max_size": 60, "flip_probability": 0.5} | more))
    return InstanceDataset(training_set, transforms, seed=seed)


def read(data: InstanceDataset, index: int, *, step: int = 0, epoch: int = 0) -> Sample:
    return data[SampleKey(step, epoch, index)]


def test_pixels_boxes_and_masks_agree(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40), (40, 24), (30, 30)])
    data = dataset(folder.images, folder.annotations)
    seen = set()
    for epoch in range(8):
        for i in range(3):
            image, target = read(data, i, epoch=epoch)[1:3]
            assert image is not None
            assert target is not None
            seen.add(tuple(image.shape))
            mask = target["masks"][0]
            assert image.dtype == torch.uint8
            assert mask.shape == image.shape[1:]
            assert image[0][mask].float().mean() > 200
            assert image[0][~mask].float().mean() < 70
            assert (target["boxes"] - masks_to_boxes(target["masks"])).abs().max() <= 1
            assert target["labels"].tolist() == [1]
            assert target["image_id"] == 100 + i
    assert len(seen) == 6  # each image in both sizes


def test_sample_depends_on_key_and_seed(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 4)
    data, other = dataset(folder.images, folder.annotations), dataset(folder.images, folder.annotations, seed=1)
    read(data, 2)
    views = [read(d, i, step=s, epoch=e) for d in (data, other) for i in range(4) for e in range(4) for s in (0, 9)]
    images = [view.image for view in views]
    for first, again in zip(images[::2], images[1::2], strict=True):
        assert torch.equal(first, again)  # the step plays no part
    shapes = [[tuple(image.shape) for image in images[part]] for part in (slice(0, 32), slice(32, 64))]
    assert shapes[0] != shapes[1]


def test_drop_crowds_and_vanished_objects(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(60, 60)], objects=2)
    first, second = folder.coco["annotations"]
    first["iscrowd"] = 1
    speck = {**second, "id": 9, "bbox": [50.0, 50.0, 1.0, 1.0], "segmentation": [[50.1, 50.1, 50.9, 50.1, 50.9, 50.9]]}
    folder.coco["annotations"].append(speck)
    folder.rewrite()
    target = read(dataset(folder.images, folder.annotations, train_sizes=(8,)), 0).target
    assert target is not None
    assert len(target["labels"]) == 1
    assert bool(target["masks"].any())


def test_scores_stay_with_their_objects(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(60, 60)], objects=4)
    for record, score in zip(folder.coco["annotations"], (0.25, 0.5, 0.75), strict=False):
        record["score"] = score
    folder.coco["annotations"][0]["iscrowd"] = 1
    folder.coco["annotations"][1]["segmentation"] = [[50.1, 50.1, 50.2, 50.1, 50.2, 50.2]]
    folder.rewrite()
    target = read(dataset(folder.images, folder.annotations), 0).target
    assert target is not None
    assert target["scores"].tolist() == [0.75, 1]
    assert target["scores"].dtype == torch.float32


def test_loader_processes_share_pixels_and_masks(make_folder: Callable[..., Any]) -> None:
    """They are allocated where the parent reads them, so that sending copies nothing."""
    folder = make_folder([(24, 40)] * 2)
    data, keys = dataset(folder.images, folder.annotations), [[SampleKey(0, 0, 0)], [SampleKey(0, 0, 1)]]
    for workers in (0, 1):
        loader = DataLoader(data, batch_sampler=keys, collate_fn=are_shared, num_workers=workers)
        assert list(loader) == [[workers == 1] * 2] * 2


def are_shared(samples: list[Sample]) -> list[bool]:
    (sample,) = samples
    assert sample.image is not None
    assert sample.target is not None
    return [sample.image.is_shared(), sample.target["masks"].is_shared()]


def test_labels_follow_the_category_table(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)])
    folder.coco["categories"] = [{"id": 90, "name": "b"}, {"id": 13, "name": "a"}]
    folder.coco["annotations"][0]["category_id"] = 90
    folder.rewrite()
    target = read(dataset(folder.images, folder.annotations, class_agnostic=False), 0).target
    assert target is not None
    assert target["labels"].tolist() == [2]


def test_replace_unreadable_image_by_next(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 4)
    (folder.images / "sub/03.png").write_bytes(b"no image")
    (folder.images / "sub/00.png").unlink()
    data = dataset(folder.images, folder.annotations)
    sample = read(data, 3)
    assert sample.target is not None
    assert sample.target["image_id"] == 101
    assert [failure.file for failure in sample.failures] == ["sub/03.png", "sub/00.png"]
    assert "no such file" in sample.failures[1].reason


def test_sample_is_empty_if_all_unreadable(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 2)
    data = dataset(folder.images / "elsewhere", folder.annotations)
    sample = read(data, 0, step=5)
    assert sample.image is None
    assert len(sample.failures) == 10
    good = read(dataset(folder.images, folder.annotations), 0, step=5)
    batch = collate([sample, good])
    assert (len(batch.images), len(batch.targets), batch.step, len(batch.failures)) == (1, 1, 5, 10)
    assert len(collate_plain([sample, good])[0]) == 1


def test_image_without_objects_has_empty_target(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)], objects=0)
    target = read(dataset(folder.images, folder.annotations), 0).target
    assert target is not None
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape[0] == 0


@pytest.mark.real_data
def test_real_images_fit_their_objects(data_dir: Path, tmp_path: Path) -> None:
    root = data_dir / "coco_mini"
    data = dataset(
        root / "images", root / "annotations/instances.json", index_dir=tmp_path, train_sizes=(120, 240), max_size=333
    )
    counts = data.training_set.index.count_objects()
    for i in range(len(data)):
        sample = read(data, i)
        assert sample.failures == ()
        assert sample.image is not None
        assert sample.target is not None
        boxes, masks = sample.target["boxes"], sample.target["masks"]
        assert counts[i] - 3 <= len(boxes) <= counts[i]  # crowds never, tiny objects may vanish
        assert masks.shape[1:] == sample.image.shape[1:]
        assert (boxes - masks_to_boxes(masks)).abs().median() < 1.5 or len(boxes) == 0
    grey = read(data, list(data.training_set.index.file_names).index("000000000086.jpg")).image
    assert grey is not None
    assert torch.equal(grey[0], grey[2])


def test_relative_scores_are_over_the_largest_of_the_image(make_folder: Callable[..., Any]) -> None:
    """An image of 0.3 and 0.6 beside a crowd region of 0.9, one of 0.2, one of 0."""
    folder = make_folder([(24, 40)] * 3)
    coco = json.loads(folder.annotations.read_text())
    records = coco["annotations"]
    first, second, third = (next(one for one in records if one["image_id"] == 100 + i) for i in range(3))
    scored = [(first, 0.3, 0), (first, 0.6, 0), (first, 0.9, 1), (second, 0.2, 0), (third, 0.0, 0)]
    coco["annotations"] = [
        {**one, "id": 1 + i, "score": score, "iscrowd": crowd} for i, (one, score, crowd) in enumerate(scored)
    ]
    folder.annotations.write_text(json.dumps(coco))
    for relative, scores in {True: [0.5, 1.0, 1.0, 0.0], False: [0.3, 0.6, 0.2, 0.0]}.items():
        data = dataset(folder.images, folder.annotations, relative_scores=relative)
        targets = collate_plain([read(data, i) for i in range(3)])[1]
        assert torch.cat([target["scores"] for target in targets]).tolist() == pytest.approx(scores)
