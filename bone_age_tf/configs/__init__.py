"""One file a model; each offers `get_config()`."""
