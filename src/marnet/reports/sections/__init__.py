"""The sections of reports, one file each.

`build(context)` makes a section from the context of a report and raises `Unavailable` if input is missing;
`contents.py` lists them. The other functions take plain arguments, so that the demo uses the same sections.
"""
