"""Whose results an output folder holds."""

from pathlib import Path

from cutler_pl.errors import ConfigError


def refuse_foreign_folder(output: Path, own: str, kind: str, *, overwrite: bool) -> None:
    """Raise if an output folder holds files, but not the one by which a command knows its own results.

    Args:
        output: Folder, which may not exist.
        own: That file, relative to the folder.
        kind: What the command makes, with its article, for the sentence.
        overwrite: Whatever it holds.

    Raises:
        ConfigError: The folder holds files of something else.
    """
    if overwrite or (output / own).is_file() or not output.is_dir():
        return
    if other := next((path for path in sorted(output.iterdir()) if not path.name.startswith(".")), None):
        raise ConfigError(
            f"{output}: holds {other.name}, which is not of {kind}; choose another output, or overwrite=true"
        )
