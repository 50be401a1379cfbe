#!/usr/bin/env bash
# TensorBoard on one run, or on a folder of runs.
#     bash launch/watch.sh RUN_DIR [more flags of tensorboard, such as --port 6007 --bind_all]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    echo "error: '${1:-}' is no folder; give the --output_dir of a run, or a folder of runs" >&2
    exit 2
fi
run=$1
shift
python=${PYTHON:-$here/.venv/bin/python}
[ -x "$python" ] || python=python3
if [ -z "$(find "$run" -name 'events.out.tfevents*' -print -quit)" ]; then
    echo "note: $run holds no events yet; they appear with the first step of a run with --report_to tensorboard" >&2
fi
exec "$python" -m tensorboard.main --logdir "$run" --reload_interval 5 "$@"
