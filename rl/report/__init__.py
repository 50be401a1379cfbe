"""An evaluation as one HTML page to look at."""
