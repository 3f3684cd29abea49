import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl.errors import OutputLockedError
from cutler_pl.runtime.locks import exclusive

HOLD = """
import sys, time
from cutler_pl.runtime.locks import exclusive
with exclusive(sys.argv[1], purpose="recipe"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_process_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputLockedError, match=rf"recipe \(process {holder.pid}\)"), exclusive(tmp_path, purpose="x"):
            pass
        holder.kill()
    with exclusive(tmp_path, purpose="x"):
        assert (tmp_path / ".lock").read_text().startswith("x")


def test_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "new", purpose="x"):
            assert (tmp_path / "new").is_dir()
