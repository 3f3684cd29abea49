"""The Dockerfiles: a linter finds nothing, a user runs in them, and what they copy makes the package."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from packaging.requirements import Requirement

from cutler_pl.commands.registry import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
FILES = ("Dockerfile", "Dockerfile.cpu")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

each_file = pytest.mark.parametrize("name", FILES)


def instructions(name: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in found]


def last_stage(name: str) -> list[tuple[str, str]]:
    found = instructions(name)
    start = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


@each_file
def test_linter_has_nothing_to_say(name: str) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@each_file
def test_bases_are_pinned(name: str) -> None:
    bases = {rest.split()[0] for word, rest in instructions(name) if word == "FROM"}
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert len(bases) == 1


@each_file
def test_runs_as_a_user_and_is_watched(name: str) -> None:
    stage = dict(last_stage(name))
    assert stage["USER"].isdecimal()
    assert int(stage["USER"]) >= 10_000
    assert "http://127.0.0.1:8080/healthz" in stage["HEALTHCHECK"]
    program = json.loads(stage["HEALTHCHECK"].partition("CMD ")[2])
    compile(program[-1], "healthcheck", "exec")
    assert stage["EXPOSE"] == "8080"


@each_file
def test_default_command_serves(name: str) -> None:
    stage = dict(last_stage(name))
    assert json.loads(stage["ENTRYPOINT"]) == ["cutler"]
    command, *overrides = json.loads(stage["CMD"])
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(command, overrides=overrides)
    assert (command, cfg.host, cfg.port) == ("serve", "0.0.0.0", 8080)


@each_file
def test_commands_of_the_comments_exist(name: str) -> None:
    lines = [line[1:] for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]
    runs = [words for line in lines if (words := shlex.split(line))[:2] == ["docker", "run"]]
    image = next(place for place, word in enumerate(runs[1]) if word.startswith("cutler_pl"))
    assert runs[1][image + 1] == "demo"
    assert "demo" in COMMANDS


@each_file
def test_installs_extras_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    (source,) = (Requirement(one) for one in re.findall(r"'(cutler_pl\[.*?\] @ .*?)'", text))
    assert source.extras <= EXTRAS.keys()
    assert ("gpu" in source.extras) is (name == "Dockerfile")
    assert ("download.pytorch.org/whl/cpu" in text) is (name == "Dockerfile.cpu")


def test_both_files_differ_in_the_device_only() -> None:
    stages = [[line for line in instructions(name) if line[0] != "ENV"] for name in FILES]
    assert [line for line in stages[0] if line not in stages[1]] == [
        (word, rest) for word, rest in stages[0] if word == "RUN" and "pip install" in rest
    ]


@pytest.mark.slow
@each_file
def test_copied_files_make_the_wheel(name: str, tmp_path: Path) -> None:
    for word, rest in instructions(name):
        if word == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, tmp_path / target)
    wheel = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*wheel, "-w", str(tmp_path / "wheels"), str(tmp_path)], check=True)
    assert len(list((tmp_path / "wheels").glob("*.whl"))) == 1
