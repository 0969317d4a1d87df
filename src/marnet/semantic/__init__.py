"""What the meaning of texts gives beyond training."""
