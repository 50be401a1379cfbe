"""Studies on the starter problems: `python -m launch.experiments.starter --study NAME`."""
