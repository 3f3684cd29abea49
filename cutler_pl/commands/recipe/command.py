"""Run the stages of a recipe (`conf/recipe/*.yaml`) one after another, each in its own folder.

Finished stages are skipped; an interrupted one goes on where its command can, else it starts again in an empty folder.
A stage depends on its settings and on the stages that it reads: a changed setting redoes what depends on it. Settings
`maskcut.*` of the command line hold for each MaskCut stage.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_method
from omegaconf import DictConfig

from cutler_pl.commands.going_on import part_of_recipe, requeued
from cutler_pl.commands.recipe.dry_run import print_plan
from cutler_pl.commands.recipe.estimate import note_estimates
from cutler_pl.commands.recipe.jobs import job_of, submit
from cutler_pl.commands.recipe.markers import State, read_marker, write_marker
from cutler_pl.commands.recipe.other_run import refuse_other_run
from cutler_pl.commands.recipe.stages import Stage, fingerprints, read_stages, with_rounds
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.errors import ConfigError, StageFailedError
from cutler_pl.runtime import signals
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.durations import format_duration
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_OF_THE_WHOLE = ("launch=", "launch.", "only=", "recipe.own_processes=")
_GRACE_SECONDS = 3600.0  # for a stage in a process of its own, which has a limit itself
_WAIT_SECONDS = 600.0  # of other ranks for rank 0, which empties the folder


def run(cfg: DictConfig) -> None:
    """Run the unfinished stages of `cfg.recipe`, or as `conf/recipe.yaml` says.

    Raises:
        OutputLockedError: Another run works in the output folder.
        StageFailedError: A stage in a process of its own has failed.
        CutlerError: An error of a stage; the stages before it stay finished.
    """
    if (choose := cfg.recipe.get("choose")) is not None:
        cfg = get_method(choose)(cfg)
    cfg = with_rounds(cfg)
    refuse_other_run(cfg)
    stages = read_stages(cfg, maskcut_settings=_given("maskcut."))
    output = Path(cfg.recipe.output)
    if cfg.get("dry_run", False):
        print_plan(cfg, stages)
        return
    for stage, fingerprint in zip(stages, fingerprints(stages), strict=True):
        if read_marker(stage, fingerprint).state != "finished":
            stage.check()  # before anything is written
    signals.handle_also("SIGUSR1")
    try:
        with part_of_recipe():
            if cfg.get("only") is not None:
                _run_only(cfg, stages, output)
                return
            if cfg.get("launch") is not None:
                _submit(cfg, stages, output)
                return
            _run_all(cfg, stages, output)
    except signals.StoppedBySignal as stop:
        raise requeued(stop) from stop
    for line in (*cfg.recipe.closing_lines, cfg.recipe.get("notice")):
        if line:
            log.info(line)


def _run_all(cfg: DictConfig, stages: Sequence[Stage], output: Path) -> None:
    apart = bool(cfg.recipe.get("own_processes", False))
    output.mkdir(parents=True, exist_ok=True)
    # a stage in a process of its own holds its part of the folder
    with file_lock(output, purpose="recipe", part="stages" if apart else None):
        record_run(output, cfg)
        estimates = note_estimates(cfg, stages, output) if cfg.recipe.get("estimate") is not None else {}
        for number, (stage, fingerprint) in enumerate(zip(stages, fingerprints(stages), strict=True), start=1):
            title = f"stage {number} of {len(stages)}, {stage.name}"
            if read_marker(stage, fingerprint).state == "finished":
                log.info("%s: finished before, kept", title)
            elif apart:
                _run_apart(stage, title)
            else:
                seconds = _run_stage(stage, fingerprint, title)
                if stage.name in estimates:
                    log.info("%s: %s, estimated %s", title, *map(format_duration, (seconds, estimates[stage.name])))


def _submit(cfg: DictConfig, stages: Sequence[Stage], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    record_run(output, cfg)
    to_do = [
        (stage, job_of(stage_words(stage), cfg.launch))
        for stage, its in zip(stages, fingerprints(stages), strict=True)
        if read_marker(stage, its).state != "finished"
    ]
    log.info("%d of %d stages are to do", len(to_do), len(stages))
    submit(cfg.launch, output, to_do)


def _run_apart(stage: Stage, title: str) -> None:
    """Run one stage by this command in a process of its own, which gets this one's signals."""
    command = [sys.executable, "-m", "cutler_pl", *stage_words(stage)]
    running = [subprocess.Popen(command)]
    process = running[0]
    signals.pass_on_to(lambda: running)
    with signals.deferred(_GRACE_SECONDS):
        code = process.wait()
    signals.pass_on_to(list)
    if code:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
        raise StageFailedError(f"{title}: {how}; {signals.GOES_ON}")


def stage_words(stage: Stage) -> list[str]:
    """Command and settings, those of this run, for one stage alone."""
    config = HydraConfig.get()
    kept = [word for word in config.overrides.task if not word.startswith(_OF_THE_WHOLE)]
    return [str(config.job.config_name), *kept, f"only={stage.name}"]


def _run_only(cfg: DictConfig, stages: Sequence[Stage], output: Path) -> None:
    """Run one stage, in the process of each rank; rank 0 has prepared the folder before the others begin.

    Raises:
        ConfigError: There is no such stage, or an earlier one is not finished.
    """
    name, names = str(cfg.only), [stage.name for stage in stages]
    if name not in names:
        raise ConfigError(f"only={name}: the recipe has no such stage; it has {', '.join(names)}")
    place, found = names.index(name), fingerprints(stages)
    stage, fingerprint, title = stages[place], found[place], f"stage {place + 1} of {len(stages)}, {name}"
    for before, its in zip(stages[:place], found, strict=False):
        if read_marker(before, its).state != "finished":
            raise ConfigError(f"only={name}: the stage {before.name} before it is not finished; run that first")
    if global_rank() != 0:
        if _state_of_rank_zero(stage, fingerprint) == "begun" and stage.pipeline is not None:
            stage.run(interrupted=stage.can_go_on)
        return
    with file_lock(output, purpose="recipe", part=name):
        if not (output / "config.yaml").is_file():
            record_run(output, cfg)
        if read_marker(stage, fingerprint).state == "finished":
            log.info("%s: finished before, kept", title)
        else:
            _run_stage(stage, fingerprint, title)


def _state_of_rank_zero(stage: Stage, fingerprint: str) -> State:
    until = time.monotonic() + _WAIT_SECONDS
    while (state := read_marker(stage, fingerprint).state) not in ("begun", "finished"):
        if time.monotonic() > until:
            raise StageFailedError(f"{stage.folder}: rank 0 has not begun in {_WAIT_SECONDS:.0f} s; {signals.GOES_ON}")
        time.sleep(1)
    return state


def _run_stage(stage: Stage, fingerprint: str, title: str) -> float:
    goes_on = stage.can_go_on and read_marker(stage, fingerprint).state == "begun"
    what = stage.command or stage.call._target_  # type: ignore[union-attr]
    log.info("%s: %s%s", title, "interrupted before, goes on: " if goes_on else "", what)
    stage.check_paths()
    if not goes_on:
        if stage.folder.exists():
            shutil.rmtree(stage.folder)
        stage.folder.mkdir(parents=True)
        write_marker(stage, fingerprint, "begun")
    start = time.monotonic()
    stage.run(interrupted=goes_on)
    seconds = round(time.monotonic() - start, 1)
    write_marker(stage, fingerprint, "finished", seconds=None if goes_on else seconds)
    log.info("%s: done in %.0f s", title, seconds)
    return seconds


def _given(prefix: str) -> Mapping[str, Any]:
    """Settings of the command line whose names begin so."""
    if not HydraConfig.initialized():
        return {}
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {o.key_or_group: o.value() for o in overrides if o.key_or_group.startswith(prefix)}
