"""The console command: help, unknown words, completion, doctor, weights, and one's own option files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl import cli
from cutler_pl.commands.completion import SHELLS
from cutler_pl.commands.completion import script as completion_script
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.weights.sources import RELEASED

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cutler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """`cutler("train", …)` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("HYDRA_FULL_ERROR", "CUTLER_PL_TRACEBACKS"):
        monkeypatch.setenv(name, "0")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cutler", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        assert sys.argv == ["cutler", *words]
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_help_has_a_line_per_command(cutler) -> None:
    code, out, _ = cutler("--help")
    assert code == 0
    for name, command in COMMANDS.items():
        assert sum(line.split()[:1] == [name] and line.endswith(command.summary) for line in out.splitlines()) == 1
    assert cutler() == cutler("-h") == (0, out, "")
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command_explains_it(cutler, name: str) -> None:
    code, out, _ = cutler(name, "--help")
    assert code == 0
    assert out.startswith(f"cutler {name}: {COMMANDS[name].summary}")
    assert name != "predict" or "score_threshold: null      # detections must score above it" in out


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv[1:] = ['--help']; from cutler_pl import cli; cli.main()\n"
    code += "assert not {'torch', 'hydra', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_each_command_has_config_and_script() -> None:
    for name in set(COMMANDS) - {"doctor", "completion"}:
        assert (config_dir() / f"{name}.yaml").is_file()
        script = ROOT / ("train.py" if name == "train" else f"scripts/{name}.py")
        assert script.is_file() or name == "quickstart"
        if script.is_file():
            assert "script(__file__)" in script.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predit",), "cutler has no command 'predit'; did you mean predict?; cutler --help lists all"),
        (("xyz",), "cutler has no command 'xyz'; cutler --help lists all"),
        (("train", "--fast"), "cutler train has no option --fast; settings are given as name=value, see --cfg job"),
        (("doctor", "x=1"), "cutler doctor takes no settings, found x=1"),
        (("completion", "tcsh"), "cutler completion takes the name of a shell, bash, zsh, fish, found tcsh"),
        (("train", "trainer.max_step=1"), "there is no setting 'trainer.max_step'; did you mean trainer.max_steps"),
        (("weights", "download=cutler_cascade"), "cutler_cascade: no such file, and not the name of a packaged"),
    ],
)
def test_mistakes_get_one_sentence(cutler, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = cutler(*words)
    assert code == 1
    assert out == ""
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_version(cutler) -> None:
    assert cutler("--version") == (0, f"cutler_pl {cli.VERSION}\n", "")


def test_weights_lists_all(cutler) -> None:
    code, out, _ = cutler("weights")
    assert code == 0
    assert all(name in out for name in RELEASED)


def test_doctor_has_a_verdict_per_line(cutler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutler_pl.commands.doctor._HOSTS", {"https://127.0.0.1:9": ("nothing", "go on")})
    code, out, _ = cutler("doctor")
    lines = out.splitlines()
    assert code == 0
    assert all(line.startswith(("ok  ", "--  ")) for line in lines)
    assert any("https://127.0.0.1:9 (nothing): not reached" in line for line in lines)
    for part in ("Python", "torch ", "GPU", "extra gpu", "extra export", "released weights", "MiB/s"):
        assert any(part in line for line in lines), part


def test_own_experiment_from_config_dir(cutler, tmp_path: Path) -> None:
    own = tmp_path / "my options" / "experiment"
    own.mkdir(parents=True)
    option = "# @package _global_\ndefaults:\n  - override /model: mask_rcnn\noptimizer:\n  lr: 0.125\n"
    (own / "mine.yaml").write_text(f"{option}name: mine\nseed: 5\n")
    code, out, err = cutler("train", "--config-dir", str(own.parent), "experiment=mine", "--cfg", "job")
    assert code == 0, err
    assert "lr: 0.125" in out
    assert {"name: mine", "seed: 5"} <= set(out.splitlines())
    assert "name: mask_rcnn_r50_fpn" in out


def test_local_options_of_the_current_folder(cutler, tmp_path: Path) -> None:
    (tmp_path / "conf" / "local").mkdir(parents=True)
    (tmp_path / "conf" / "local" / "default.yaml").write_text("# @package _global_\npaths:\n  datasets: /data/mine\n")
    code, out, err = cutler("train", "--cfg", "job")
    assert code == 0, err
    assert "datasets: /data/mine" in out
    assert "root_dir: ${oc.env:PROJECT_ROOT,.}" in out


@pytest.mark.parametrize("name", ["predict", "maskcut", "quickstart"])
def test_local_options_beat_those_of_commands(cutler, tmp_path: Path, name: str) -> None:
    (tmp_path / "conf" / "local").mkdir(parents=True)
    (tmp_path / "conf" / "local" / "default.yaml").write_text("# @package _global_\nnum_workers: 9\nseed: 8\n")
    code, out, err = cutler(name, "--cfg", "job")
    assert code == 0, err
    assert {"num_workers: 9", "seed: 8"} <= set(out.splitlines())
    assert "seed: 4" in cutler(name, "seed=4", "--cfg", "job")[1].splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_script_is_sound(cutler, shell: str) -> None:
    code, out, _ = cutler("completion", shell)
    assert code == 0
    assert "convert_checkpoint" in out
    assert "@" not in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


def test_completion_completes_commands_and_settings(tmp_path: Path) -> None:
    (tmp_path / "cutler").write_text(f'#!/bin/sh\nexec {sys.executable} -m cutler_pl "$@"\n')
    (tmp_path / "cutler").chmod(0o755)
    asks = """
    ask() { COMP_LINE="$*"; COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cutler_completion
            echo "${COMPREPLY[*]}"; }
    ask cutler maskc; ask cutler completion z; ask cutler train experiment=cutler_; ask cutler maskcut maskcut=patch
    """
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", completion_script("bash") + asks], capture_output=True, text=True, check=True, env=env
    )
    commands, shells, experiments, options = done.stdout.splitlines()
    assert (commands, shells) == ("maskcut", "zsh")
    assert set(experiments.split()) == {f"experiment=cutler_{name}" for name in ("cascade", "fast", "mask_rcnn")}
    assert options == "maskcut=patch_descriptors"


def test_parameter_classes_load_quickly() -> None:
    """Settings are completed, and mistakes in them found, without Lightning, timm, torchvision or kornia."""
    code = "import sys; from cutler_pl.commands.hydra_app import register_params; register_params()\n"
    code += "assert not {'lightning', 'timm', 'torchvision', 'kornia'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
