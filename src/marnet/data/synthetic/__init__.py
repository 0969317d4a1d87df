"""Drawn dishes: data that every machine can make."""
