"""What `cutler predict` adds to its detector: images per CPU-second of a folder, and the memory of a video.

The detector's own rate is that of `CutLER.predict` on images in memory, one at a time; that of the network alone, whose
masks are still small, is printed, too. The folder's rate has reading, JSON and overlays in it. All run in this process,
in turns. The video's memory is that of a process of its own, sampled while it runs.

    python benchmarks/predict.py --images <folder> [--checkpoint <file>] [--device cuda] [--video]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from cutler_pl.api.cutler import CutLER
from cutler_pl.commands import predict
from cutler_pl.commands.config_store import register_params
from cutler_pl.images import list_images, read_image
from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import MODEL_CONFIG_KEY, detector_config
from cutler_pl.runtime.config_tree import config_dir

FRAME_HW = (360, 640)


def main() -> None:
    """Print the rates or the memory."""
    options = read_options()
    os.environ.setdefault("PROJECT_ROOT", str(Path.cwd()))
    torch.set_num_threads(options.threads)
    register_params()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = options.checkpoint or random_checkpoint(folder, options.backbone)
        if options.video:
            memory(options, checkpoint, folder)
        else:
            rates(options, checkpoint, folder)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--backbone", default="resnet18", help="of random weights, without a checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--num-images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--video", action="store_true", help="memory over the frames of a video")
    parser.add_argument("--num-frames", type=int, default=300)
    parser.add_argument("overrides", nargs="*", help="further settings of predict")
    return parser.parse_args()


def random_checkpoint(folder: Path, backbone: str) -> Path:
    """A cascade with random weights: as many detections as its settings allow."""
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, backbone=backbone)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, MODEL_CONFIG_KEY: detector_config(model)}, folder / "random.ckpt")
    return folder / "random.ckpt"


def rates(options: argparse.Namespace, checkpoint: Path, folder: Path) -> None:
    """Median seconds per image of the detector and of the command, and the ratio of their rates."""
    root, names = list_images(options.images)
    images = [read_image(root / name) for name in names[: options.num_images]]
    (folder / "images").mkdir()
    for number, name in enumerate(names[: options.num_images]):
        (folder / "images" / f"{number:04d}{Path(name).suffix}").symlink_to((root / name).resolve())
    model = CutLER.from_pretrained(checkpoint, device=options.device)
    clock = time.process_time if options.device == "cpu" and not options.workers else time.perf_counter
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    network, own, runs = [], [], {"overlays=false": [], "overlays=true": []}
    for repeat in range(options.repeats + 1):
        start = clock()
        for tensor in tensors:
            found = model.detector.predict([tensor.to(model.device)])
            found[0]["scores"].cpu()
        network.append((clock() - start) / len(images))
        start = clock()
        for image in images:
            model.predict(image)
        own.append((clock() - start) / len(images))
        for setting, seconds in runs.items():
            whole = command(options, checkpoint, folder, setting, f"{repeat}_{setting}")
            seconds.append(whole / len(images))
    own_s = median(own[1:])
    print(f"{torch.__version__}, {options.device}, {options.threads} threads, {options.workers} workers")
    print(f"network alone: {median(network[1:]):.4f} s per image")
    print(f"detector: {own_s:.4f} s, {1 / own_s:.2f} images per second")
    for setting, seconds in runs.items():
        print(f"folder, {setting}: {median(seconds[1:]):.4f} s, {own_s / median(seconds[1:]):.3f} of its rate")


def command(options: argparse.Namespace, checkpoint: Path, folder: Path, setting: str, name: str) -> float:
    """Seconds from the first image to the last of a run over the folder."""
    clock = time.process_time if options.device == "cpu" and not options.workers else time.perf_counter
    words = [f"checkpoint='{checkpoint}'", f"input='{folder}/images'", f"output='{folder}/{name}'", setting]
    words += [f"device={options.device}", f"num_workers={options.workers}", "callbacks.progress=null"]
    words += options.overrides
    times: list[float] = []
    run_trainer = predict.write_predictions

    def timed(*arguments: object, **named: object) -> object:
        start = clock()
        result = run_trainer(*arguments, **named)
        times.append(clock() - start)
        return result

    predict.write_predictions = timed
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            predict.run(compose("predict", words))
    finally:
        predict.write_predictions = run_trainer
    return times[0]


def memory(options: argparse.Namespace, checkpoint: Path, folder: Path) -> None:
    """Resident memory of a `cutler predict` process over a video that pans over the images."""
    video = pan(options.images, folder / "pan.mp4", options.num_frames)
    words = [f"checkpoint={checkpoint}", f"input={video}", f"output={folder}/found.mp4", f"device={options.device}"]
    log = (folder / "log").open("w")
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cutler_pl", "predict", *words, *options.overrides], stderr=log, env=environment
    )
    sizes: list[float] = []
    while process.poll() is None:
        sizes.append(resident_mb(process.pid))
        time.sleep(0.5)
    if process.returncode:
        sys.exit((folder / "log").read_text())
    seconds = time.perf_counter() - started
    running = sizes[len(sizes) // 10 :]  # without the start
    at = [running[min(len(running) - 1, len(running) * tenth // 10)] for tenth in (1, 3, 5, 7, 9)]
    print(f"{options.num_frames} frames of {FRAME_HW[1]}×{FRAME_HW[0]} in {seconds:.0f} s")
    print("MB at 10, 30, 50, 70, 90 %: " + ", ".join(f"{size:.0f}" for size in at) + f"; most: {max(sizes):.0f}")


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def pan(images: Path, path: Path, num_frames: int) -> Path:
    """A video that pans over images laid side by side."""
    height, width = FRAME_HW
    root, names = list_images(images)
    parts = [Image.fromarray(read_image(root / name)).resize((width, height)) for name in names[:6]]
    strip = np.concatenate([np.asarray(part) for part in parts], axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(num_frames):
            left = round((strip.shape[1] - width) * number / max(1, num_frames - 1))
            pixels = np.ascontiguousarray(strip[:, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
