"""The command line: one file per command, and the only place that knows a flag (`flags.py`)."""
