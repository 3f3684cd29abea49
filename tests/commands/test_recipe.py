import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands import recipe
from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.resolvers import stage_folder
from cutler_pl.errors import ConfigError, OutputLockedError
from cutler_pl.runtime.locks import file_lock

RecipeFactory = Callable[..., DictConfig]


def append(path: str, text: str, fail: bool = False) -> None:
    """A stage's work: leaves a trace of each call, and part of a result when it fails."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)
    if fail:
        raise RuntimeError("killed")


def make(tmp_path: Path, *texts: str, failing: str | None = None) -> DictConfig:
    stages = {
        text: {
            "call": {
                "_target_": "cutler_pl.commands.recipe_test_stage.append",
                "path": str(tmp_path / "stages" / f"{number}_{text}" / "result.txt"),
                "text": text,
            }
        }
        for number, text in enumerate(texts, start=1)
    }
    if failing is not None:
        stages[failing]["call"]["fail"] = True
    return OmegaConf.create(
        {"seed": 0, "recipe": {"output": str(tmp_path), "stages": stages, "closing_lines": ["open it"]}}
    )


@pytest.fixture(autouse=True)
def _stage_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("cutler_pl.commands.recipe_test_stage")
    module.append = append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(recipe, "recipe_test_stage", module, raising=False)
    monkeypatch.setattr("cutler_pl.commands.recipe_test_stage", module, raising=False)


def results(folder: Path) -> dict[str, str]:
    return {p.parent.name: p.read_text() for p in sorted(folder.glob("stages/*/result.txt"))}


def test_finished_stages_are_not_run_again(tmp_path: Path) -> None:
    cfg = make(tmp_path, "a", "b")
    recipe.run(cfg)
    recipe.run(cfg)
    assert results(tmp_path) == {"1_a": "a", "2_b": "b"}


def test_interrupted_stage_restarts(tmp_path: Path) -> None:
    """The stage before it is kept."""
    with pytest.raises(Exception, match="killed"):
        recipe.run(make(tmp_path, "a", "b", failing="b"))
    before = (tmp_path / "stages/1_a/result.txt").stat().st_mtime_ns
    recipe.run(make(tmp_path, "a", "b"))
    assert results(tmp_path) == {"1_a": "a", "2_b": "b"}
    assert (tmp_path / "stages/1_a/result.txt").stat().st_mtime_ns == before


def test_changed_stage_redoes_what_depends_on_it(tmp_path: Path) -> None:
    """By its folder in their settings, or by `needs`; a stage that depends on neither is kept."""

    def recipe_of(text: str) -> DictConfig:
        cfg = make(tmp_path, "a", "b", "c", "d", "e")
        cfg.recipe.stages["b"].call.text = text
        cfg.recipe.stages["c"].needs = ["b"]
        cfg.recipe.stages["e"].call.text = str(tmp_path / "stages" / "3_c" / "result.txt")
        return cfg

    recipe.run(recipe_of("b"))
    names = ("1_a", "2_b", "3_c", "4_d", "5_e")
    marks = {name: (tmp_path / "stages" / name / "stage.json").stat().st_mtime_ns for name in names}
    recipe.run(recipe_of("B"))
    redone = {n for n, t in marks.items() if (tmp_path / "stages" / n / "stage.json").stat().st_mtime_ns != t}
    assert redone == {"2_b", "3_c", "5_e"}


def test_output_of_something_else_is_refused(tmp_path: Path) -> None:
    """Whether a run of another recipe, or any files; nothing is removed."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds the files of something else than this recipe"):
        recipe.run(make(tmp_path, "a"))
    (tmp_path / "notes.txt").unlink()
    recipe.run(make(tmp_path, "a"))
    with pytest.raises(ConfigError, match="holds the files of something else than this recipe"):
        recipe.run(make(tmp_path, "x", "y"))
    assert results(tmp_path) == {"1_a": "a"}


def test_stage_run_alone_owns_the_output(tmp_path: Path) -> None:
    cfg = make(tmp_path, "a", "b")
    cfg.only = "a"
    recipe.run(cfg)
    recipe.run(make(tmp_path, "a", "b"))
    assert results(tmp_path) == {"1_a": "a", "2_b": "b"}


def test_output_belongs_to_one_run(tmp_path: Path) -> None:
    def recipe_of(images: str) -> DictConfig:
        cfg = make(tmp_path / "out", "a")
        cfg.recipe.images, cfg.recipe.one_run = images, ["recipe.images"]
        return cfg

    recipe.run(recipe_of("set"))
    recipe.run(recipe_of("./set"))
    with pytest.raises(ConfigError, match=r"holds the run of images=\./set, not of images=other; choose"):
        recipe.run(recipe_of("other"))


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with file_lock(tmp_path, purpose="recipe"), pytest.raises(OutputLockedError):
        recipe.run(make(tmp_path, "a"))


def test_stage_needs_a_pipeline_or_a_call(tmp_path: Path) -> None:
    cfg = make(tmp_path, "a")
    cfg.recipe.stages["a"].pipeline = "train"
    with pytest.raises(ConfigError, match="a needs either"):
        recipe.run(cfg)


def test_stage_folders_come_from_their_order() -> None:
    register_params()
    stages = {"first": {"call": {"folder": "${stage:second}"}}, "second": {"call": {"folder": "${stage:first}"}}}
    cfg = OmegaConf.create({"recipe": {"output": "/out", "stages": stages}})
    first, second = recipe.read_stages(cfg)
    assert (str(first.folder), str(second.folder)) == ("/out/stages/1_first", "/out/stages/2_second")
    assert [stage.settings()["call"]["folder"] for stage in (first, second)] == [str(second.folder), str(first.folder)]
    with pytest.raises(ConfigError, match="no stage 'third'; it has first, second"):
        stage_folder("third", _root_=cfg)


def test_maskcut_settings_reach_maskcut_stages() -> None:
    stages = {"a": {"pipeline": "maskcut", "overrides": {"maskcut": "x"}}, "b": {"pipeline": "predict"}}
    cfg = OmegaConf.create({"recipe": {"output": "/out", "stages": stages}})
    a, b = recipe.read_stages(cfg, maskcut_settings={"maskcut.num_masks": 2})
    assert a.command == "cutler maskcut maskcut=x maskcut.num_masks=2"
    assert not b.overrides


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF)))
def test_formatted_paths_come_back_whole_from_hydras_parser(text: str) -> None:
    (formatted,) = recipe.format_overrides({"input": f"/photos {text}"})
    assert OverridesParser.create().parse_override(formatted).value() == f"/photos {text}"


def test_values_keep_their_kind() -> None:
    values = {"a": None, "b": True, "c": 0.5, "d": [480, 640], "e": "my photos (1), new", "f": "x/y.json"}
    parser = OverridesParser.create()
    parsed = {o.key_or_group: o.value() for o in map(parser.parse_override, recipe.format_overrides(values))}
    assert parsed == values


def test_marker_names_the_command(tmp_path: Path) -> None:
    stage = recipe.Stage(
        name="x", folder=tmp_path, pipeline="maskcut", overrides={"input": "my photos", "maskcut": "m"}, call=None
    )
    assert stage.command == """cutler maskcut 'input='"'"'my photos'"'"'' maskcut=m"""
    recipe.run(make(tmp_path, "a"))
    assert json.loads((tmp_path / "stages/1_a/stage.json").read_text())["command"] is None


@pytest.mark.parametrize("content", ["", "{", "[5]", '{"fingerprint": 5}', "[" * 5000, '{"fingerprint": NaN}'])
def test_damaged_mark_redoes_stage(tmp_path: Path, content: str) -> None:
    recipe.run(make(tmp_path, "a"))
    (tmp_path / "stages/1_a/stage.json").write_text(content)
    (tmp_path / "stages/1_a/result.txt").unlink()
    recipe.run(make(tmp_path, "a"))
    assert results(tmp_path) == {"1_a": "a"}


def test_interrupted_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of a command that can go on keeps its folder; a changed one does not."""
    seen: list[tuple[bool, bool]] = []

    def run(stage: recipe.Stage, *, interrupted: bool = False) -> None:
        seen.append((interrupted, (stage.folder / "half.txt").exists()))
        (stage.folder / "half.txt").write_text("")
        if len(seen) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe.Stage, "run", run)
    for name in ("check", "check_paths"):
        monkeypatch.setattr(recipe.Stage, name, lambda stage: None)

    def begin(name: str) -> None:
        stages = {"masks": {"pipeline": "maskcut", "overrides": {"input": name}}}
        content = {"output": str(tmp_path), "stages": stages, "closing_lines": []}
        recipe.run(OmegaConf.create({"seed": 0, "recipe": content}))

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            begin("a")
    begin("b")
    assert seen == [(False, False), (True, True), (False, False)]
