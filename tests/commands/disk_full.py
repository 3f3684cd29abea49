"""Run commands in one process where no file can grow beyond a size: `disk_full.py '[[limit, name, [word, …]], …]'`.

Prints the exit code and the last line on standard error of each as JSON; limit null is none.
"""

import io
import json
import resource
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

from cutler_pl import cli


def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = sys.stdout
    for limit, name, words in json.loads(sys.argv[1]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if limit is None else limit, hard))
        code, said = 0, io.StringIO()
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            try:
                cli.run(name, words)
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException as error:  # noqa: BLE001  # a traceback, which the test reports
                code = -1
                print(repr(error), file=said)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print(json.dumps([code, said.getvalue().splitlines()[-1:]]), file=out, flush=True)


if __name__ == "__main__":
    main()
