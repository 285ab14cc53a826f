"""The detector of ossification regions: data, network, training, evaluation and inference."""
