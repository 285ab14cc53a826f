"""Decoding and resizing of image files, in NumPy and in TensorFlow."""
