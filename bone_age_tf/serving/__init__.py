"""Client of model servers."""
