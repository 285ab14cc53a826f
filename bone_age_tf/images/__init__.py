"""From the bytes of an image file to pixels, in NumPy and in TensorFlow."""
