"""SavedModel and LiteRT files, and the parity between them."""
