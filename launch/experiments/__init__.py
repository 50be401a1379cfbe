"""Experiments: they run the scripts as a user would, and read what these wrote. Nothing else imports them."""
