"""Every value of every command is checked before the command starts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from cutler_pl.commands.paths import PATH_SETTINGS
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.commands.value_rules import Free, Group
from cutler_pl.commands.value_settings import VALUE_SETTINGS
from cutler_pl.commands.values import check_values, settings_of
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.crf.backends import CRF_BACKENDS
from cutler_pl.maskcut.crf.params import CrfName
from cutler_pl.maskcut.ncut import SOLVERS
from cutler_pl.maskcut.params import SolverName
from cutler_pl.models.backends import BACKENDS
from cutler_pl.models.backends.names import BackendName
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.ranges import AnyOf, Choice, Integer, Number, Rule, check

from .conftest import Command
from .test_bad_input import sentence

FUZZ = Path(__file__).resolve().parents[1] / "fuzz.py"
CHOSEN = {
    "maskcut": ["maskcut=dino_vits8"],
    "recipe": ["recipe=quickstart"],
    "prepare_dataset": ["name=coco"],
    "train": ["data/validation=folder", "augment=self_train"],
    "predict": ["model=cascade_mask_rcnn"],
}
GROUPS = {
    "maskcut": ("maskcut", "confidence", "job", "trainer", "logger"),
    "train": (
        "augment", "callbacks", "data", "data/validation", "debug", "experiment", "logger", "model", "model/loss",
        "optimizer", "scheduler", "teacher", "trainer",
    ),
    "predict": ("callbacks", "logger", "model", "trainer"),
    "evaluate": ("eval", "model"),
    "self_train": ("trainer",),
    "export": ("model",),
    "convert_checkpoint": ("model",),
    "recipe": ("maskcut", "recipe"),
}  # fmt: skip
CONFIGURED = [name for name in COMMANDS if (config_dir() / f"{name}.yaml").is_file()]
SEMI = ("semi", "moco", "coco_semi")
NEVER = {
    "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "2^63": 2**63, "mapping": {"a": 1},
    "empty": "", "lines": "a\nb", "lists": [[[]]],
}  # fmt: skip
WRONG: dict[type, dict[str, Any]] = {
    bool: {"maybe": "maybe", "1": 1, "0": 0, "text": "true", "list": [True], "null": None},
    int: {"abc": "abc", "1.5": 1.5, "bool": True, "text": "1", "list": ["1"]},
    float: {"abc": "abc", "bool": True, "text": "0.5", "list": ["a"]},
    str: {"bool": True, "1.5": 1.5, "list of lists": [["a"]]},
    ListConfig: {"abc": 1.5, "bool": True, "mixed": ["\n", True]},
}
NEGATIVE = ("maskcut.features.layer",)


@pytest.fixture(autouse=True)
def _hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def values_of(command: str, cfg: DictConfig) -> list[tuple[str, Rule, Any]]:
    """The settings that are checked here, without paths, groups and what belongs to other packages."""
    found = [(name, rule, value) for name, rule, value in settings_of(command, cfg) if rule is not None]
    groups = [name for name, rule, _ in found if isinstance(rule, Free | Group) or "settings below" in rule.expected]
    return [entry for entry in found if entry[0] not in groups]


def options(command: str) -> Iterator[list[str]]:
    yield CHOSEN.get(command, [])
    for group in GROUPS.get(command, ()):
        for path in sorted((config_dir() / group).glob("*.yaml")):
            more = ["label_percent=10"] if path.stem in SEMI else []
            if (group, path.stem) in {("data", "coco_semi"), ("optimizer", "semi"), ("scheduler", "semi")}:
                more = ["experiment=semi", *more]
            chosen = [choice for choice in CHOSEN.get(command, []) if not choice.startswith((f"{group}=", f"{group}/"))]
            yield [*chosen, f"{group}={path.stem}", *more]


def test_every_command_declares_its_values() -> None:
    assert list(VALUE_SETTINGS) == list(COMMANDS)
    assert set(PATH_SETTINGS) == set(VALUE_SETTINGS)


def test_choices_are_those_that_exist() -> None:
    assert set(get_args(SolverName)) == set(SOLVERS)
    assert set(get_args(CrfName)) == set(CRF_BACKENDS)
    assert set(get_args(BackendName)) == set(BACKENDS)


@pytest.mark.parametrize("command", CONFIGURED)
def test_every_setting_is_declared(command: str) -> None:
    """Also those of every option of every group; and what the option files say is accepted."""
    for overrides in options(command):
        settings = list(settings_of(command, compose(command, overrides=overrides)))
        assert [setting.name for setting in settings if setting.rule is None] == [], overrides
        for name, rule, value in settings:
            assert rule is not None
            check(name, value, rule)


@pytest.mark.parametrize("command", CONFIGURED)
def test_wrong_value_is_named(command: str) -> None:
    cfg = compose(command, overrides=CHOSEN.get(command, []))
    settings = values_of(command, cfg)
    for name, rule, default in settings:
        kind = ListConfig if isinstance(default, list) else type(default)
        wrong = {**NEVER, **WRONG.get(kind, {})}
        if name not in NEGATIVE:
            wrong["-7"] = -7
        for value in wrong.values():
            with pytest.raises(ConfigError) as caught:
                check(name, value, rule)
            said = str(caught.value)
            assert said.startswith(name)
            assert ": expected " in said
            assert "\n" not in said
            assert len(said) < 400
    assert settings or command == "weights"


@pytest.mark.parametrize("command", CONFIGURED)
def test_command_checks_its_settings(command: str) -> None:
    """Twelve of them, spread over all, since each takes a check of the whole command."""
    cfg = compose(command, overrides=CHOSEN.get(command, []))
    references = ("data.datamodule.validation.", "data.datamodule.augment.")  # to data.validation and augment
    names = [name for name, _, _ in values_of(command, cfg) if not name.startswith(references)]
    for name in names[:: 1 + len(names) // 12]:
        changed = cfg.copy()
        with open_dict(changed):
            OmegaConf.update(changed, name, {"a": float("nan")}, merge=False)
        with pytest.raises(ConfigError, match=f"{name}={{a}}: expected "):
            check_values(command, changed)


@pytest.mark.parametrize("command", CONFIGURED)
def test_bounds_are_accepted(command: str) -> None:
    cfg = compose(command, overrides=CHOSEN.get(command, []))
    for name, rule, default in values_of(command, cfg):
        assert json.loads(json.dumps(check(name, default, rule))) == default
        for value in bounds(rule):
            assert check(name, value, rule) == value


def bounds(rule: Rule) -> list[Any]:
    if isinstance(rule, AnyOf):
        return [value for part in rule.rules for value in bounds(part)]
    if isinstance(rule, Integer):
        return [rule.min, rule.max]
    if isinstance(rule, Number):
        return [bound for bound in (rule.min, rule.max) if bound is not None]
    return list(rule.values) if isinstance(rule, Choice) else []


@pytest.mark.parametrize(
    ("command", "setting"),
    [("maskcut", "crf"), ("train", "callbacks.checkpoint"), ("train", "model.detector"), ("recipe", "recipe.stages")],
)
def test_value_instead_of_group_is_named(command: str, setting: str) -> None:
    cfg = compose(command, overrides=CHOSEN.get(command, []))
    OmegaConf.update(cfg, setting, 5, merge=False)
    with pytest.raises(ConfigError, match=f"{setting}=5: expected settings below this name"):
        check_values(command, cfg)


def test_missing_group_is_named() -> None:
    cfg = compose("train", overrides=["~optimizer"])
    with pytest.raises(ConfigError, match="optimizer=null: this command needs an option"):
        check_values("train", cfg)


def test_processes_on_a_cpu_are_bounded() -> None:
    cfg = compose("train", overrides=["trainer=cpu", "trainer.devices=999"])
    with pytest.raises(ConfigError, match=r"trainer\.devices=999: on a CPU"):
        check_values("train", cfg)


def test_unknown_target_is_named() -> None:
    cfg = compose("train", overrides=["optimizer._target_=cutler_pl.training.optim.adam"])
    with pytest.raises(ConfigError, match=r"optimizer\._target_=.*there is no such"):
        check_values("train", cfg)


@pytest.mark.parametrize(
    "words",
    [
        ("scripts/maskcut.py", "input=.", "output=out", "maskcut=patch_descriptors", "maskcut.tau=nan"),
        ("scripts/predict.py", "checkpoint=a.ckpt", "input=.", "output=out", "overlays=false", "score_threshold=nan"),
        ("scripts/make_coco_splits.py", "percents=5"),
        ("scripts/recipe.py", "recipe=quickstart", "recipe.stages=5"),
        ("train.py", "data=folder", "data.images=.", "data.annotations=a.json", "optimizer.lr=-1"),
    ],
    ids=lambda words: words[0],
)
def test_wrong_value_ends_the_command(command: Command, words: tuple[str, ...]) -> None:
    GlobalHydra.instance().clear()
    with open("a.json", "w") as file:  # noqa: PTH123
        file.write("{}")
    line = sentence(command(*words))
    assert line.startswith(f"error: {words[-1]}: expected "), line


@pytest.mark.slow
def test_fuzz_overrides(tmp_path: Path) -> None:
    """`python tests/fuzz.py --minutes 5 overrides` runs longer."""
    words = [sys.executable, str(FUZZ), "--examples", "8", "--folder", str(tmp_path), "overrides"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
