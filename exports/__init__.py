"""Data files: the exported models that come with the package, and the sources of the web page."""
