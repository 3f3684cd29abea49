#!/usr/bin/env bash
# From images to a trained detector, small enough for two CPU cores: masks, training, self-training, a page of figures.
#   bash scripts/quickstart.sh [folder of images] [settings of the recipe, such as maskcut=dino_vits16 seed=1]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
settings=()
if [ $# -gt 0 ] && { [ -d "$1" ] || [[ "$1" != *=* ]]; }; then
  [ -d "$1" ] || { echo "$1: no such folder; give a folder of images, or nothing for the bundled ones" >&2; exit 1; }
  images="$(cd "$1" && pwd)"
  settings+=("recipe.images='${images//\'/\\\'}'")
  shift
fi
for setting in "$@"; do
  if [[ "$setting" != *=* ]]; then
    echo "usage: bash scripts/quickstart.sh [folder of images] [name=value ...]   (quote a folder whose name has spaces)" >&2
    exit 2
  fi
done
ensure_environment ''
cd "$project_root"
exec "$python" scripts/recipe.py recipe=quickstart ${settings[@]+"${settings[@]}"} "$@"
