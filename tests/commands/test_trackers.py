"""What a training leaves in trackers, read back: a real MLflow server, a W&B run offline, TensorBoard."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_records import artifacts_of, config_of, history_of

from cutler_pl.datasets.scenes import SceneParams, write_scenes

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "experiment=quickstart", "model.detector.backbone=timm/test_resnet", "model.detector.fpn_channels=16",
    "model.detector.box_head_dim=16", "model.detector.mask_head_channels=8", "model.detector.mask_head_convs=1",
    "data.train_sizes=[48]", "data.max_size=64", "data.batch_size=2", "data.num_workers=0", "callbacks.precise_bn=null",
    "data/validation=folder", "data.validation.images=set/images", "data.validation.annotations=set/annotations.json",
    "data.images=set/images", "data.annotations=set/annotations.json", "trainer.max_steps=4",
    "trainer.val_check_interval=2", "trainer.log_every_n_steps=1", "callbacks.visual_samples.num_images=1",
    "name=tracked",
)  # fmt: skip
FIGURES = {"step_0000001": ["train_0"], "step_0000002": ["val_0"], "step_0000004": ["train_0", "val_0"]}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Without a login, a home folder and a tracking server of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MLFLOW_"))}
    home = tmp_path / "home"
    home.mkdir()
    new = {"HOME": str(home), "NETRC": str(home / "netrc"), "PROJECT_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    return kept | new | {"WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def train(environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A training of four steps in a process of its own."""
    write_scenes(tmp_path / "set" / "images", 4, SceneParams(height=48, width=64), seed=0)

    def run(*settings: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, *settings]
        options: dict[str, Any] = {"cwd": tmp_path, "env": environment | variables, "stdin": subprocess.DEVNULL}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)

    return run


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Address of `mlflow ui` with a sqlite file, as the `tracking` extra installs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    command = [sys.executable, "-m", "mlflow", "ui", *place, "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", process, tmp_path / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text())


@pytest.mark.slow
def test_all_trackers_hold_the_run(
    train: Callable[..., Any], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("logger=[mlflow,wandb,tensorboard]", "logger.wandb.offline=true")
    done = train(*chosen, MLFLOW_TRACKING_URI=server)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "outputs" / "tracked"
    checkpoint = (output / "checkpoints" / "step_0000004.ckpt").read_bytes()
    settings = yaml.safe_load((output / "config.yaml").read_text())
    _check_mlflow(server, output, checkpoint, tmp_path)
    _check_wandb(output, checkpoint, settings)
    _check_tensorboard(output)

    with urllib.request.urlopen(server, timeout=30) as page:
        assert b"<title>MLflow</title>" in page.read()


def _check_mlflow(server: str, output: Path, checkpoint: bytes, tmp_path: Path) -> None:
    client = MlflowClient(server)
    run = client.get_run((output / "mlflow_run_id.txt").read_text().strip())
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")  # kept by the server, not in a folder of this machine
    assert run.data.params["optimizer.lr"] == "0.04"
    assert {"train/loss", "val/bbox/AP", "val/segm/AP50"} <= set(run.data.metrics)
    fetched = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    for name in ("config.yaml", "run.json"):
        assert (fetched / name).read_text() == (output / name).read_text()
    assert run.data.tags["mlflow.source.git.commit"] in (fetched / "run.json").read_text()
    assert {
        path.name: sorted(figure.stem for figure in path.iterdir()) for path in (fetched / "samples").iterdir()
    } == FIGURES
    table = (fetched / "tables" / "step_0000004" / "validation.csv").read_text().splitlines()
    assert table[0].startswith("iou_type,AP,AP50,AP75")
    assert [line.split(",")[0] for line in table[1:]] == ["bbox", "segm"]
    assert (fetched / "checkpoints" / "step_0000004.ckpt").read_bytes() == checkpoint


def _check_wandb(output: Path, checkpoint: bytes, settings: dict[str, Any]) -> None:
    config, history = config_of(output), history_of(output)
    assert {name: config[name] for name in ("optimizer", "model", "data")} == {
        name: settings[name] for name in ("optimizer", "model", "data")
    }
    assert config["run"]["commit"] in (output / "run.json").read_text()
    for name, steps in (("train_0", [1, 4]), ("val_0", [2, 4])):
        shown = [row["trainer/global_step"] for row in history if f"samples/{name}/filenames" in row]
        assert shown == steps
    assert [row["tables/validation/nrows"] for row in history if "tables/validation/nrows" in row] == [2, 2]
    assert any("val/bbox/AP" in row for row in history)
    (model,) = (artifact for artifact in artifacts_of(output) if artifact.type == "model")
    (entry,) = model.manifest.contents
    assert Path(entry.local_path).read_bytes() == checkpoint


def _check_tensorboard(output: Path) -> None:
    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"samples/train_0", "samples/val_0"}
    texts = {"config.yaml/text_summary", "run.json/text_summary", "tables/validation/text_summary"}
    assert texts <= set(tags["tensors"])
    assert {"train/loss", "val/bbox/AP"} <= set(tags["scalars"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("logger=wandb", "No API key configured; run `wandb login` once"),
        ("logger=mlflow", "http://127.0.0.1:1: there is no connection to the server"),
    ],
)
def test_unusable_tracker_ends_in_a_sentence(train: Callable[..., Any], chosen: str, expected: str) -> None:
    done = train(chosen, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert expected in line
