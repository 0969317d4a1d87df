"""What is in a data source, and what may go wrong with it."""
