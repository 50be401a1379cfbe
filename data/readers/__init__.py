"""Rows of other benchmarks as problems in MBPP format: one module a benchmark, `convert` chooses."""
