"""Pairs for the boost stage: their format, wrong attempts by mutation, and the choice of what to learn from."""
