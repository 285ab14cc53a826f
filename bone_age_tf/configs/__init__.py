"""Settings of each model, in a file with `get_config()`."""
