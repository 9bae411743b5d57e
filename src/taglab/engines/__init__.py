"""What CI engines do with a pipeline file, as pure functions."""
