"""Fitting, checkpoints and the loop around them."""
