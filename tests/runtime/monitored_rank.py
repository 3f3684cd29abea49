"""One of the processes of `test_rank_monitor.py`: joins the others, then ends as it is told, or waits.

Usage: `monitored_rank.py <rank> <number of ranks> <file for the rendezvous> <rank that ends> <how>`.
"""

import os
import signal
import sys
import time

import torch.distributed as dist

from cutler_pl.errors import ConfigError
from cutler_pl.runtime import signals
from cutler_pl.runtime.rank_monitor import RankMonitor


def main(rank: int, ranks: int, store: str, ending: int, how: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    monitor = RankMonitor()
    dist.barrier()  # none ends while another one still connects
    os.write(1, b"connected\n")  # in one piece: the ranks share the file
    if how == "all finish":
        monitor.finish()
        dist.barrier()
        return
    if rank != ending and how != "all fail":
        try:
            dist.barrier() if how in ("killed in a barrier", "fails alone") else time.sleep(60)
        except (RuntimeError, signals.StoppedBySignal) as error:
            monitor.leave(error)
            raise
    time.sleep(0.5 * rank)
    if how == "signalled":
        monitor.leave(signals.StoppedBySignal(signal.SIGTERM))
        sys.exit(128 + signal.SIGTERM)
    if how == "killed beside its child" and os.fork() == 0:
        os.close(2)
        time.sleep(20)
        os._exit(0)
    if how.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    monitor.leave(ConfigError("its own sentence"))
    print(f"error: rank {rank}'s own sentence", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    with signals.handled():
        signals.begin_work()
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
