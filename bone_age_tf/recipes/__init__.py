"""Recipes: trainings in several stages, each in a file that defines `RECIPE`."""
