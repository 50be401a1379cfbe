"""Problems, prompts and the embedded default data set."""
