"""Exports models as SavedModel, LiteRT and ONNX files, and compares them with Keras."""
