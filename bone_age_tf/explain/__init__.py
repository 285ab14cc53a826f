"""Explanations of predictions; the only package that imports tf_explain."""
