"""The sections of reports, each built in one place, for the demo, for runs and for comparisons alike.

A builder takes what a section speaks of and returns a `Section`, or a `Gap` that says what is missing.
"""
