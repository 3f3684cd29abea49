"""Two processes on the CPU: what has to be agreed between ranks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch

Make = Callable[..., Any]
WORKER = Path(__file__).with_name("ddp_worker.py")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of one run with two ranks."""
    output = tmp_path_factory.mktemp("ddp")
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 8, "width": 8} for i in range(1, 6)]
    box = {"category_id": 1, "bbox": [0, 0, 8, 4], "area": 32, "iscrowd": 0, "segmentation": [[0, 0, 8, 0, 8, 4, 0, 4]]}
    annotations = [{"id": i, "image_id": i, **box} for i in range(1, 6)]
    ground_truth = output / "gt.json"
    ground_truth.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]})
    )
    forked.run_ranks(2, WORKER, str(output), str(ground_truth), folder=output)
    return output


def of_rank(output: Path, rank: int) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads((output / f"rank_{rank}.json").read_text())
    return seen


def test_nan_on_one_rank_drops_step(ran: Path) -> None:
    """The step is dropped on all ranks."""
    first, second = of_rank(ran, 0), of_rank(ran, 1)
    assert first["weights"] == second["weights"]
    assert first["nonfinite_steps"] == second["nonfinite_steps"] == 1
    changed = [before != after for before, after in zip(first["weights"], first["weights"][1:], strict=False)]
    assert changed == [True, False, True]


def test_statistics_are_pooled_over_ranks(ran: Path, batch_of: Make) -> None:
    first, second = of_rank(ran, 0), of_rank(ran, 1)
    assert first["statistics"] == second["statistics"]
    images = [image for rank in (0, 1) for step in range(3) for image in batch_of(2, rank, step)[0]]
    features = torch.nn.functional.conv2d(torch.stack(images) / 255, torch.tensor(first["conv"]), padding=1)
    values = features.transpose(0, 1).flatten(1).double()
    mean, variance = torch.tensor(first["statistics"], dtype=torch.float64)
    torch.testing.assert_close(mean, values.mean(dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, values.var(dim=1), rtol=1e-5, atol=1e-6)


def test_ranks_share_predictions_and_metrics(ran: Path) -> None:
    """Predictions of all ranks are one file; every rank knows the metrics."""
    records = json.loads((ran / "predictions.json").read_text())
    assert [record["image_id"] for record in records] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert json.loads((ran / "val.json").read_text()) == records
    metrics = of_rank(ran, 0)["metrics"]
    assert metrics == of_rank(ran, 1)["metrics"]
    assert metrics["val/segm/AR100"] == pytest.approx(100.0)
    assert sorted(path.name for path in (ran / "checkpoints").iterdir()) == [
        "last.ckpt",
        "step_0000004.ckpt",
        "validated_step.txt",
    ]
