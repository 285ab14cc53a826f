"""The quality check of a radiograph: its network, samples, training, checker and graph."""
