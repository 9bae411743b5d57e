"""What CI engines make of a pipeline file and an event, as pure functions."""
