"""The commands of README and docs: each composes with the settings it names, and the scripts it calls are there."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]


def commands(page: str) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("#")[0].strip()
            if command:
                yield command


COMMANDS = list(commands("README.md"))
GUIDES = ("docs/datasets.md", "docs/evaluation.md", "docs/maskcut.md")
IN_DOCS = [f".venv/bin/{command}" for page in GUIDES for command in commands(page)]


def test_readme_has_the_two_commands() -> None:
    assert "bash scripts/quickstart.sh" in COMMANDS
    assert "bash scripts/test.sh" in COMMANDS


@pytest.mark.parametrize("command", [c for c in COMMANDS if "bash scripts/" in c])
def test_shell_scripts_exist_and_parse(command: str) -> None:
    script = ROOT / next(word for word in shlex.split(command) if word.startswith("scripts/"))
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS + IN_DOCS if "bin/python" in c])
def test_python_commands_compose(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    words = shlex.split(re.sub(r"<[^>]*>", "given", command))
    words = words[next(i for i, word in enumerate(words) if word.endswith("bin/python")) + 1 :]
    assert (ROOT / words[0]).is_file()
    name = Path(words[0]).stem
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, overrides=[*words[1:], f"+hydra.runtime.output_dir={tmp_path}"], return_hydra_config=True)
    for override in map(OverridesParser.create().parse_override, words[1:]):
        if not (ROOT / "conf" / override.key_or_group).is_dir():
            assert OmegaConf.select(cfg, override.key_or_group) == override.value()
