"""Training: fitting, checkpoints, losses, optimiser and initial weights."""
