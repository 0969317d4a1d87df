"""Figures for the report and for a paper, drawn with matplotlib's objects; no pyplot, no global settings.

What is drawn black becomes the colour of the page's text, see `svg`; the colours of classes and methods are seen on
white and on dark alike. Legends are returned as data, so that the page can set them as text that wraps.
"""
