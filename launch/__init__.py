"""Process groups, the DeepSpeed engine and the recipes that start a run."""
