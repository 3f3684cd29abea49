"""An output that appears when all of it is written: made in a hidden folder, then moved to its place."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import make_folder, wrap_os_errors

_STAGING = ".export_labels.tmp"


@contextmanager
def staged(output: Path, targets: Sequence[str], *, inputs: Mapping[str, Path], overwrite: bool) -> Iterator[Path]:
    """Yield a folder; if the block ends well, what it holds is moved to `output`, else it is removed.

    Args:
        output: Folder, whose lock is held.
        targets: Names of the files and folders that may be written.
        inputs: What is read, by setting.
        overwrite: Whether they replace those that are there.

    Raises:
        ConfigError: One is there, and is not to be replaced or is an input.
        OutputWriteError: There is no space or no permission.
    """
    for target in (output / name for name in targets):
        if not target.exists() and not target.is_symlink():
            continue
        for name, path in inputs.items():
            if path.resolve().is_relative_to(target.resolve()):
                raise ConfigError(f"{target}: the run would replace its own {name}={path}; choose another output")
        if not overwrite:
            raise ConfigError(
                f"{target} is there already; give another output=<folder>, or replace it by overwrite=true"
            )
    staging = output / _STAGING
    make_folder(output, of=output)
    with wrap_os_errors(output):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
            for made in sorted(staging.iterdir()):
                target = output / made.name
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                made.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
