#!/usr/bin/env bash
# Without a folder: from generated scenes to a trained detector, small enough for two CPU cores, without a download.
# With a folder of images of your own: masks, a detector for them, labels to correct, a page (cutler own). Without
# settings it tries DINO's features, and goes on with patch_descriptors where their weights cannot be had.
#   bash scripts/quickstart.sh [settings of the recipe quickstart, such as seed=1]
#   bash scripts/quickstart.sh <folder of images> [settings of cutler own, such as maskcut=dino_vits16 budget=20min]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
images=''
if [ $# -gt 0 ] && { [ -d "$1" ] || [[ "$1" != *=* ]]; }; then
  [ -d "$1" ] || { echo "$1: no such folder; give a folder of images, or nothing for generated scenes" >&2; exit 1; }
  images="$(cd "$1" && pwd)"
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
if [ -z "$images" ]; then
  exec "$python" scripts/recipe.py recipe=quickstart "$@"
fi
quoted="${images//\'/\\\'}"
name="$(basename "$images")"
settings=("images='$quoted'" "output='$project_root/outputs/own/${name//\'/\\\'}'")
[ $# -gt 0 ] || settings+=(fallback=patch_descriptors)
exec "$python" scripts/own.py "${settings[@]}" "$@"
