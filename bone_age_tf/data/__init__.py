"""From image files and prepared TFDS folders to batches."""
