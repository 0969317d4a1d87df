"""Run directories: what is in them, their weights."""
