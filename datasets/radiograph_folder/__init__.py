"""A user's own radiographs: a CSV table beside PNG or JPEG files."""
