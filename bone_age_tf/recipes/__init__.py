"""Trainings of several stages, one readable file each; each offers `RECIPE`."""
