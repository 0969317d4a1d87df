"""Procedural dishes: what is in them (`recipes`), how they are painted and served, and what spoils their photograph."""
