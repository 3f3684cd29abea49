import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.run_id import run_id, slurm_job

ROOT = Path(__file__).resolve().parents[2]
KNOWN = (
    "CUTLER_RUN_ID", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_NTASKS", "SLURM_STEP_ID", "PBS_JOBID", "LSB_JOBID",
    "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK",
)  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "17", "SLURM_PROCID": "3"}, "slurm_17"),
        ({"SLURM_JOB_ID": "17", "TORCHELASTIC_RUN_ID": "a"}, "slurm_17"),
        ({"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "4"}, "slurm_17_4"),
        ({"PBS_JOBID": "9.host"}, "pbs_9.host"),
        ({"LSB_JOBID": "8"}, "lsf_8"),
        ({"TORCHELASTIC_RUN_ID": "a b/c", "RANK": "1"}, "torchrun_a_b_c"),
        ({"CUTLER_RUN_ID": "mine", "SLURM_JOB_ID": "17"}, "mine"),
    ],
)
def test_name_follows_the_environment(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run_id() == expected


def test_interactive_job_holds_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert slurm_job() is None
    assert "slurm" not in run_id()


def test_rank_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ConfigError, match=r"paths\.output_dir=<folder>"):
        run_id()


@pytest.mark.slow
def test_torchrun_ranks_take_the_clock_of_rank_zero(tmp_path: Path) -> None:
    """Also where one starts three seconds later."""
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, sys, time\n"
        "time.sleep(3 * int(os.environ['RANK']))\n"
        "from cutler_pl.runtime.run_id import run_id\n"
        f"open(f'{tmp_path}/' + os.environ['RANK'], 'w').write(run_id())\n"
    )
    clean = {key: value for key, value in os.environ.items() if key not in KNOWN}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29617", str(script)]
    done = subprocess.run(
        command, env={**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ((tmp_path / rank).read_text() for rank in "01")
    assert first == second
    assert first.startswith("20")
