"""The commands of README and docs: each composes with the settings it names, and the scripts it calls are there."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from cutler_pl.commands.registry import COMMANDS as COMMANDS_OF_CUTLER
from cutler_pl.models import build_detector

ROOT = Path(__file__).resolve().parents[1]


def commands(page: str) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("#")[0].strip()
            if command:
                yield command


COMMANDS = list(commands("README.md"))
PAGES = (
    *("datasets", "evaluation", "generators", "install", "labels", "maskcut"),
    *("own-images", "prediction", "serve", "usage"),
)
FOLDERS = ("tutorials", "how-to", "explanation")
GUIDES = (
    *PAGES,
    *(f"{path.parent.name}/{path.stem}" for name in FOLDERS for path in (ROOT / "docs" / name).glob("*.md")),
)
IN_DOCS = list(dict.fromkeys(c for name in GUIDES for c in commands(f"docs/{name}.md") if c not in COMMANDS))


def test_readme_has_the_two_commands() -> None:
    assert "bash scripts/quickstart.sh" in COMMANDS
    assert "bash scripts/test.sh" in COMMANDS


@pytest.mark.parametrize("command", [c for c in COMMANDS if "bash scripts/" in c])
def test_shell_scripts_exist_and_parse(command: str) -> None:
    script = ROOT / next(word for word in shlex.split(command) if word.startswith("scripts/"))
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS + IN_DOCS if "bin/python" in c or "cutler " in c])
def test_commands_compose(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    words = shlex.split(re.sub(r"<[^>]*>", "given", command))
    start = next((i for i, word in enumerate(words) if word == "cutler" or word.endswith("bin/python")), None)
    if start is None:  # pip install
        return
    name, *overrides = words[start + 1 :]
    if words[start] == "cutler":
        assert name in COMMANDS_OF_CUTLER
        if name in ("doctor", "completion"):
            return
    else:
        assert (ROOT / name).is_file()
        name = Path(name).stem
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, overrides=[*overrides, f"+hydra.runtime.output_dir={tmp_path}"], return_hydra_config=True)
    for override in map(OverridesParser.create().parse_override, overrides):
        if not (ROOT / "conf" / override.key_or_group).is_dir():
            assert OmegaConf.select(cfg, override.key_or_group) == override.value()


def test_python_of_the_readme_runs(write_image: Callable[..., Path], tmp_path: Path, monkeypatch) -> None:
    """With a small detector and the descriptors in the place of weights that have to be fetched."""
    write_image("image.jpg")
    monkeypatch.chdir(tmp_path)
    model = build_detector("mask_rcnn_r50_fpn", backbone="resnet18", fpn_channels=8, min_size_test=64)
    torch.save(model.state_dict(), tmp_path / "detector.pth")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    replaced = code.replace("cutler_cascade_final", "detector.pth").replace("dino_vits16", "patch_descriptors")
    assert replaced.count("detector.pth") == replaced.count("patch_descriptors") == 1
    exec(compile(replaced, "README.md", "exec"), {})
    assert {path.name for path in tmp_path.glob("*.jpg")} == {"image.jpg", "found.jpg", "masks.jpg"}
