"""Prediction through LiteRT; imports neither TensorFlow nor Keras."""
