"""Data alone: the exported models that the package ships, and the sources of its page."""
