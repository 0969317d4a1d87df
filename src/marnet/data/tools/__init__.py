"""Looking at a source, converting it, downloading it."""
