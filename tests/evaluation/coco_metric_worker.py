"""One of the processes of `test_coco_metric.py`: adds its share of the images and writes down what came out."""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from cutler_pl.evaluation.coco_metric import CocoMetric

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    truth, found, shares = json.loads((folder / "scene.json").read_text())
    metric = CocoMetric(truth)
    for image_id in shares[rank]:
        metric.update({image_id: dict(found)[image_id]})
    metrics = metric.compute()
    (folder / f"rank_{rank}.json").write_text(json.dumps([metrics, metric.results]))
    dist.destroy_process_group()
