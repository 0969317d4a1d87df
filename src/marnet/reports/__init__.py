"""Pages that show what runs and comparisons found."""
