"""Seconds of a step on many GPUs, on paper: `python -m launch.experiments.scale`."""
