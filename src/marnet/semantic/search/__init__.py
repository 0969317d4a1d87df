"""Search in the unified space: images and texts by a text, an image or both."""
