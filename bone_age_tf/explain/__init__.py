"""Explanations; the only room that imports tf_explain."""
