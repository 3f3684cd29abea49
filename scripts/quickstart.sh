#!/usr/bin/env bash
# From images to a trained detector, small enough for two CPU cores: masks, training, self-training, a page of figures.
#   bash scripts/quickstart.sh [folder of images]
set -euo pipefail
if [ $# -gt 1 ]; then
  echo "usage: bash scripts/quickstart.sh [folder of images]   (quote a folder whose name has spaces)" >&2
  exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ $# -eq 1 ]; then
  [ -d "$1" ] || { echo "$1: no such folder; give a folder of images, or nothing for the bundled ones" >&2; exit 1; }
  images="$(cd "$1" && pwd)"
fi
ensure_environment ''
cd "$project_root"
if [ -n "${images:-}" ]; then
  escaped="${images//\'/\\\'}"
  exec "$python" scripts/recipe.py recipe=quickstart "recipe.images='$escaped'"
fi
exec "$python" scripts/recipe.py recipe=quickstart
