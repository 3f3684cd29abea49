#!/usr/bin/env bash
# Everything that is checked before a change lands: style, types, import rules, tests. CI runs exactly this.
#   bash scripts/test.sh [--all] [arguments for pytest]
# --all adds the tests marked slow and network, which are deselected otherwise.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure_environment '[dev]'
cd "$project_root"

selection=()
if [ "${1:-}" = --all ]; then
  selection=(-m '')
  shift
fi

step() { printf '\n== %s\n' "$*"; }
step ruff
"$python" -m ruff check .
"$python" -m ruff format --check .
step mypy
"$python" -m mypy
step import-linter
.venv/bin/lint-imports --no-logo
step codespell
git ls-files -z | xargs -0 "$python" -m codespell_lib
step pytest
unset PYTHONDONTWRITEBYTECODE  # each process would compile every module again, a third of a minute per worker
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1  # one thread per worker
"$python" -m pytest -n auto --dist worksteal --durations=15 ${selection[@]+"${selection[@]}"} "$@"
