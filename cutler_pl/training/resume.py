"""Where a training starts: anew, at a given checkpoint, or at the newest whole one of its folder (`resume=auto`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models.resume import check_resume
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.checkpoint_folder import CheckpointFolder, step_of

log = get_logger(__name__)

AUTO = "auto"


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint that a training goes on from.

    Args:
        path: The file, absolute: Lightning has words of its own.
        content: What it holds.
    """

    path: Path
    content: dict[str, Any]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.content["global_step"])


def find_resume_point(setting: Any, folder: CheckpointFolder) -> ResumePoint | None:
    """The checkpoint that the setting `resume` stands for; None to start anew.

    Args:
        setting: None, "auto" or a file.
        folder: Checkpoints of the run's output folder.

    Raises:
        ConfigError: The setting is neither, or would start anew among the checkpoints of another training.
        CheckpointError: The file is missing, damaged or something else; with "auto", so are all.
    """
    there = folder.newest_first()
    if setting is None:
        if there:
            raise ConfigError(
                f"{folder.path} holds a training up to {there[0].name}: add resume=auto to go on with it, or choose "
                "another name= or paths.output_dir= to start anew"
            )
        return None
    if setting == AUTO:
        return _newest_whole(there, folder)
    if isinstance(setting, str) and setting.isidentifier() and not Path(setting).exists():
        raise ConfigError(f"resume={setting}: neither a file nor the word auto; give resume=auto or a .ckpt file")
    if isinstance(setting, str) and Path(setting).is_dir():
        raise ConfigError(f"resume={setting} is a folder; give a .ckpt file, or paths.output_dir=<folder> resume=auto")
    try:
        return ResumePoint(Path(setting).absolute() if isinstance(setting, str) else setting, check_resume(setting))
    except CheckpointError as error:
        older = _older_whole(setting)
        raise type(error)(f"{error}; the next older whole one is resume={older}" if older else str(error)) from error


def _newest_whole(there: list[Path], folder: CheckpointFolder) -> ResumePoint | None:
    for path in there:
        try:
            return ResumePoint(path.absolute(), check_resume(path))
        except CheckpointError as error:
            if global_rank() == 0:
                log.warning("%s; the checkpoint before it is taken", error)
    if there:
        raise CheckpointError(
            f"resume=auto: none of the {len(there)} checkpoints in {folder.path} can be read; move them away to start "
            "anew"
        )
    log.info("resume=auto: no checkpoint in %s, the training starts anew", folder.path)
    return None


def _older_whole(setting: Any) -> Path | None:
    """The newest whole checkpoint before a damaged one."""
    if not Path(setting).is_file():
        return None
    path = Path(setting).resolve()
    for older in CheckpointFolder(path.parent).newest_first():
        if step_of(path) < 0 or step_of(older) < step_of(path):
            try:
                check_resume(older)
            except CheckpointError:
                continue
            return older
    return None
