"""Keras functional models; pure Keras 3, any backend."""
