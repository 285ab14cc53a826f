"""Bone age from radiographs of the left hand and wrist, with TensorFlow and Keras."""

__version__ = "0.1.0"
