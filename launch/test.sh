#!/usr/bin/env bash
# Set up and run the tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
.venv/bin/ruff check .
exec .venv/bin/python -m pytest "$@"
