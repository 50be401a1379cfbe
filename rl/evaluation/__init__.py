"""Evaluation over turns: sampling that can be interrupted, numbers with intervals, and their tables."""
