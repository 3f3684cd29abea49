"""The process of a job, which submitit would start as `python -u -m submitit.core._submit <folder>`."""

import runpy
import sys

from cutler_pl.runtime import imports

if __name__ == "__main__":
    imports.submitit(purpose="this job")
    sys.argv = ["submitit", sys.argv[-1]]
    runpy.run_module("submitit.core._submit", run_name="__main__")
