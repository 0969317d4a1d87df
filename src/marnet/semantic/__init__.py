"""What the unified space of images and texts gives beyond a classifier."""
