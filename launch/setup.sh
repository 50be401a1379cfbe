#!/usr/bin/env bash
# Make .venv and install the project into it, pinned by launch/constraints.txt. Safe to call again: does nothing when nothing changed.
# PYTHON=python3.12 chooses the interpreter. Where there is no NVIDIA GPU the CPU build of torch is taken if pip can find it;
# point PIP_EXTRA_INDEX_URL at PyTorch's CPU wheel index to make that so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: '$python' is not Python 3.10 or newer; set PYTHON to one that is" >&2
    exit 2
fi

stamp=.venv/.installed
wanted=$(cat setup.cfg pyproject.toml launch/constraints.txt launch/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "setting up .venv (a minute or two)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
torch=$(grep '^torch==' launch/constraints.txt)
if ! command -v nvidia-smi >/dev/null 2>&1 && "${pip[@]}" install "$torch+cpu" 2>/dev/null; then
    :
else
    "${pip[@]}" install --constraint launch/constraints.txt "$torch"
fi
"${pip[@]}" install --constraint launch/constraints.txt --editable '.[dev]'
echo "$wanted" > "$stamp"
