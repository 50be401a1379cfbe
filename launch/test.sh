#!/usr/bin/env bash
# Set up and run the tests, on up to four processors. Arguments go to pytest; `-n 0` runs them in one process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
.venv/bin/ruff check .
exec .venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal "$@"
