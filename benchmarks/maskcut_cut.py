"""The second eigenvector of MaskCut's patch graphs: ours beside scipy.linalg.eigh, on the same graphs, in one run.

    python benchmarks/maskcut_cut.py                      grids of 30, 45 and 60 patches a side, a minute or two
    python benchmarks/maskcut_cut.py --grids 60 --repeats 5
    python benchmarks/maskcut_cut.py --device cuda        ours on a GPU, in batches; eigh stays on the CPU

CPU seconds of one graph, on one thread; `eigh` is given its dense matrices, ours the 0/1 matrix of edges. Images are
generated: ellipses of one feature direction each, in noise. "Same masks" compares three rounds of MaskCut with both.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.linalg
import torch

from cutler_pl.maskcut import MaskCutParams, maskcut
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.ncut import LanczosSolver
from cutler_pl.runtime.reproducibility import run_metadata

DIM = 96


def image_features(side: int, seed: int) -> torch.Tensor:
    """Features of one image with a few ellipses."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    label = (x * 2).astype(int)  # two halves of background
    for blob in range(int(rng.integers(1, 5))):
        cy, cx = rng.uniform(0.15, 0.85, 2)
        ry, rx = rng.uniform(0.08, 0.25, 2)
        label[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = 2 + blob
    directions = rng.normal(size=(label.max() + 1, DIM))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.uniform(0.8, 2.0) * rng.normal(size=(side, side, DIM)) / DIM**0.5
    return torch.from_numpy((directions[label] + noise).transpose(2, 0, 1)[None]).float()


def seconds(work: Callable[[], object], repeats: int, *, cuda: bool = False) -> list[float]:
    """CPU time of each repeat; wall time, waited for, on a GPU."""
    times = []
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
        clock = time.perf_counter if cuda else time.process_time
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return times


def eigh(graph: PatchGraph) -> Callable[[], object]:
    """The original's call, its matrices made beforehand."""
    W = graph.weights()[0].cpu().numpy()
    D = np.diag(W.sum(1))
    return lambda: scipy.linalg.eigh(D - W, D, subset_by_index=[1, 2])


def spread(times: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):8.4f} ({min(times):.4f}-{max(times):.4f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, nargs="+", default=[30, 45, 60])
    parser.add_argument("--images", type=int, default=3, help="graphs a grid")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; eigh runs once for each graph")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16, help="graphs at once on a GPU")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cuda = arguments.device.startswith("cuda")
    metadata = run_metadata()
    processor = torch.cuda.get_device_name(arguments.device) if cuda else platform.processor() or platform.machine()
    print(f"commit {metadata['commit']}  torch {torch.__version__}  scipy {metadata['packages']['scipy']}  {processor}")
    print("median (range); ours: " + ("wall seconds a graph, in batches" if cuda else "CPU seconds a graph"))
    print(f"{'grid':>7} {'eigh CPU-s':>26} {'ours s':>26} {'ratio':>7} {'products':>9} {'same masks':>11}")
    solver = LanczosSolver()
    for side in arguments.grids:
        slow: list[float] = []
        fast: list[float] = []
        products, same = [], 0
        features = [image_features(side, seed) for seed in range(arguments.images)]
        for image in features:
            graph = build_graph(image, tau=0.15, eps=1e-5)
            slow += seconds(eigh(graph), 1)
            products.append(int(solver(graph).products))
            if not cuda:
                fast += seconds(lambda graph=graph: solver(graph), arguments.repeats)
            masks = [
                maskcut(image.to(d), MaskCutParams(), solver=s).masks.cpu()
                for d, s in (("cpu", "scipy"), (arguments.device, "lanczos"))
            ]
            same += int(torch.equal(*masks))
        if cuda:
            many = torch.cat([features[i % len(features)] for i in range(arguments.batch)]).to(arguments.device)
            graph = build_graph(many, tau=0.15, eps=1e-5)
            solver(graph)
            fast = [
                t / arguments.batch for t in seconds(lambda graph=graph: solver(graph), arguments.repeats, cuda=True)
            ]
        ratio = statistics.median(slow) / statistics.median(fast)
        print(
            f"{side:>3}×{side:<3} {spread(slow):>26} {spread(fast):>26} {ratio:>6.1f}× "
            f"{min(products)}-{max(products):<6} {same:>5} of {len(features)}"
        )


if __name__ == "__main__":
    main()
