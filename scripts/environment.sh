# Sourced by the other scripts: makes .venv in the project's root and installs the project into it.
# TORCH_INDEX=<address of a package index> takes torch and torchvision from there first (a CPU-only build, say).

project_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$project_root/.venv/bin/python"

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "No Python 3.11 or newer with the venv module was found; install one (Debian: python3-venv) or set PYTHON=<path>." >&2
  return 1
}

# ensure_environment EXTRAS: EXTRAS is '' or, say, '[dev]'. Nothing is done where the last installation still fits.
ensure_environment() {
  local extras="$1" base stamp wanted
  if [ ! -x "$python" ]; then
    base="$(find_python)"
    echo "Creating .venv with $("$base" --version) ..."
    "$base" -m venv "$project_root/.venv"
  fi
  stamp="$project_root/.venv/.cutler_pl${extras}"
  wanted="$(cksum < "$project_root/pyproject.toml") $project_root"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  echo "Installing cutler_pl${extras} into .venv (the first time torch is downloaded, which takes minutes) ..."
  if [ -n "${TORCH_INDEX:-}" ]; then
    "$python" -m pip install --disable-pip-version-check --progress-bar on --index-url "$TORCH_INDEX" \
      'torch>=2.9,<2.15' 'torchvision>=0.24,<0.30'
  fi
  "$python" -m pip install --disable-pip-version-check --quiet --progress-bar on -e "${project_root}${extras}"
  printf '%s' "$wanted" > "$stamp"
}
