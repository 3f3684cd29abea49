"""`cutler weights upload=`: a detector saved or published from its checkpoint or folder."""

import json
from pathlib import Path

import pytest
from hub_server import TOKEN, serving_hub
from huggingface_hub import constants

from .conftest import Command, sentence

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


def test_upload_writes_then_publishes(
    command: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that was looked at is what is published; evaluate and predict take it as a checkpoint."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    saved = tmp_path / "saved"
    outcome = command("scripts/weights.py", f"upload={checkpoint}", f"output={saved}", "license=apache-2.0")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    with serving_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        outcome = command("scripts/weights.py", f"upload={saved}", "repository=me/cats", "private=true")
        assert outcome.code == 0, outcome.err
        assert f"published: {hub.address}/me/cats/commit/" in outcome.err
        files = hub.repositories["me/cats"].revisions["main"]
    assert json.loads(files["config.json"])["class_names"] == ["cat", "dog"]
    assert b"license: apache-2.0" in files["README.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upload=tiny_generated"], "upload= needs repository=<owner>/<name> on the hub, output=<folder>"),
        (["upload=tiny_generated", "repository=../x"], "is no repository of the Hugging Face hub"),
        (["upload=none", "output=x"], "none: no such file"),
        (["upload=.", "output=x"], "is a folder without weights"),
        (["repository=me/x"], "this run does not read it, as upload= is not given"),
        (["upload=tiny_generated", "output=x", "run=none"], "run=none: no such file or folder"),
    ],
)
def test_refuse_uploads(command: Command, words: list[str], said: str) -> None:
    assert said in sentence(command("scripts/weights.py", *words))


def test_folder_of_weights_is_a_checkpoint(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    checkpoint.rename(run / "last.ckpt")
    output = tmp_path / "out.safetensors"
    outcome = command("scripts/convert_checkpoint.py", f"source={run.parent}", f"output={output}", "format=cutler_pl")
    assert outcome.code == 0, outcome.err
    assert output.is_file()
