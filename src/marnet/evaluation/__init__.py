"""Evidence: how good a run is, what its branches do, and the report that shows it."""
