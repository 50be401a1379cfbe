"""What scripts that an experiment starts find: this checkout's modules, before whatever was on the path."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
