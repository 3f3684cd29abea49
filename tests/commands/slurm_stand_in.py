"""A stand-in for SLURM: `sbatch` keeps the script, `srun` runs its command here, `scontrol` notes what is requeued."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_SBATCH = """#!{python}
import pathlib, shutil, sys
folder = pathlib.Path({folder!r})
number = 1 + len(list(folder.glob("*.sh")))
shutil.copy(sys.argv[1], folder / f"{{number}}.sh")
print(f"Submitted batch job {{number}}")
"""
_SRUN = """#!{python}
import os, sys
words = sys.argv[1:]
place = {{"%j": os.environ["SLURM_JOB_ID"], "%t": "0"}}
for number, name in ((1, "--output"), (2, "--error")):
    path = words[words.index(name) + 1]
    for sign, text in place.items():
        path = path.replace(sign, text)
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
os.execv({python!r}, words[words.index({python!r}):])
"""
_SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/asked
"""


class Slurm:
    """Its commands lie in `bin`; jobs run when they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder / "slurm", folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for name, text in {"sbatch": _SBATCH, "srun": _SRUN, "scontrol": _SCONTROL}.items():
            path = self.bin / name
            path.write_text(text.format(python=sys.executable, folder=str(self.folder)))
            path.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.bin}:{os.environ['PATH']}"

    def flags(self) -> list[set[str]]:
        """The options in each script, in the order of submission."""
        scripts = sorted(self.folder.glob("*.sh"), key=lambda path: int(path.stem))
        return [
            {line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
            for script in scripts
        ]

    def asked(self) -> str:
        path = self.folder / "asked"
        return path.read_text() if path.exists() else ""

    def start(self, job: int) -> "subprocess.Popen[bytes]":
        """Run a job in a group of processes of its own."""
        slurm = {
            "SLURM_JOB_ID": str(job), "SLURM_JOB_NAME": "cutler", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "PATH": self.path, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        script = ["bash", str(self.folder / f"{job}.sh")]
        return subprocess.Popen(script, env={**os.environ, **slurm}, start_new_session=True)


def signal_steps(job: "subprocess.Popen[bytes]", signum: int) -> None:
    """Signal all processes of a job except its batch shell, as `--signal` has it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != job.pid:
            with suppress(ProcessLookupError):
                if os.getpgid(int(entry.name)) == job.pid:
                    os.kill(int(entry.name), signum)
