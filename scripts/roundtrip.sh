#!/usr/bin/env bash
# Exported labels read back by the library they are for, in a virtual environment of its own, mask by mask.
#   bash scripts/roundtrip.sh coco|yolo|cvat|labelstudio|labelme|fiftyone
# Needs the network. PYTHON is the interpreter that has cutler_pl; environments are kept in ROUNDTRIP (.roundtrip).
set -euo pipefail
cd "$(dirname "$0")/.."
format=${1:?which format: coco, yolo, cvat, labelstudio, labelme or fiftyone}
python=${PYTHON:-python}
declare -A packages=(
  [coco]="pycocotools" [yolo]="supervision" [cvat]="datumaro cvat-sdk" [labelstudio]="label-studio-sdk"
  [labelme]="labelme" [fiftyone]="fiftyone pycocotools"
)
[[ -n "${packages[$format]:-}" ]] || { echo "no format '$format'; choose one of ${!packages[*]}" >&2; exit 1; }
home=${ROUNDTRIP:-.roundtrip}/$format
[[ -x $home/bin/python ]] || "$python" -m venv "$home"
# shellcheck disable=SC2086  # several packages
"$home/bin/python" -m pip install --quiet --disable-pip-version-check ${packages[$format]}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$PWD "$python" scripts/roundtrip.py write "$format" "$work"
CUTLER_SITE=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])') \
  FIFTYONE_DATABASE_DIR=$work/db QT_QPA_PLATFORM=offscreen "$home/bin/python" scripts/roundtrip.py read "$format" "$work"
