"""The experiment: arms, runs, records, statistics and tables."""
