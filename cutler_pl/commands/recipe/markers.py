"""`stage.json` in the folder of a stage: from which settings it is, whether it is finished, and its time."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from cutler_pl.commands.recipe.stages import Stage
from cutler_pl.commands.result_cache import read_record
from cutler_pl.runtime.files import write_json

DONE = "stage.json"

State = Literal["finished", "begun", "settings differ", "to do"]


class Marker(NamedTuple):
    """State of a stage for one fingerprint; `seconds` where it was finished without an interruption."""

    state: State
    seconds: float | None = None


def read_marker(stage: Stage, fingerprint: str) -> Marker:
    """What the folder of a stage says; a damaged file is read as one of other settings."""
    path = stage.folder / DONE
    if not path.is_file():
        return Marker("settings differ" if stage.folder.exists() else "to do")
    record = read_record(path)
    if record is None or not isinstance(record.get("command"), str | None):
        return Marker("settings differ")
    if record.get("fingerprint") != fingerprint:
        return Marker("settings differ")
    if record.get("state") != "finished":
        return Marker("begun")
    seconds = record.get("seconds")
    return Marker("finished", float(seconds) if isinstance(seconds, int | float) else None)


def write_marker(stage: Stage, fingerprint: str, state: State, *, seconds: float | None = None) -> None:
    """Note the state of a stage in its folder."""
    content: dict[str, Any] = {"fingerprint": fingerprint, "command": stage.command, "state": state}
    write_json(Path(stage.folder) / DONE, content | {"seconds": seconds})
