import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.images import list_images, read_image
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.generate import generate


def trainer(**options: object) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        **options,
    )


class RecordedFeatures:
    """Gives each photo the features that were recorded for it; knows the photo by its pixels."""

    patch_size = 8

    def __init__(self, dataset: Path, features: Path) -> None:
        self.known = {}
        for path in features.glob("*.npz"):
            folder, stem = path.stem.split("__")
            photo = Image.fromarray(read_image(dataset / folder / f"{stem}.JPEG"))
            square = np.array(photo.resize((480, 480), Image.Resampling.LANCZOS))
            (key,) = np.load(path).files
            self.known[square.tobytes()] = torch.from_numpy(np.load(path)[key].astype(np.float32)).unflatten(
                -1, (60, 60)
            )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.stack([self.known[one.tobytes()] for one in pixels])


@pytest.mark.golden
def test_golden_annotations_of_the_original_are_met_byte_for_byte(golden_dir: Path, tmp_path: Path) -> None:
    folder = golden_dir / "maskcut/pipeline"
    dataset = folder / "dataset"
    extractor = RecordedFeatures(dataset, folder / "features")
    root, names = list_images(dataset)
    report = generate(
        root,
        names,
        tmp_path,
        extractor=extractor,
        params=MaskCutParams(),
        trainer=trainer(),
        batch_size=1,
        num_workers=0,
        max_failed_share=0.2,
    )
    ours = json.loads((tmp_path / "annotations.json").read_text())
    theirs = json.loads((folder / "merged.json").read_text())

    def by_name(coco: dict) -> dict[str, list[dict]]:
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        found: dict[str, list[dict]] = {name: [] for name in names.values()}
        for annotation in coco["annotations"]:
            found[names[annotation["image_id"]]].append(
                {k: v for k, v in annotation.items() if k not in ("id", "image_id")}
            )
        return found

    assert by_name(ours) == by_name(theirs)
    sizes = {i["file_name"]: (i["width"], i["height"]) for i in ours["images"]}
    assert sizes == {i["file_name"]: (i["height"], i["width"]) for i in theirs["images"]}  # swapped there
    assert [i["file_name"] for i in ours["images"]] == sorted(sizes)
    assert [i["id"] for i in ours["images"]] == [1, 2, 3, 4, 5]
    assert report is not None
    assert report.without_annotations == 1
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert [f["file"] for f in failures] == ["n_aa/img_03_broken.JPEG"]
