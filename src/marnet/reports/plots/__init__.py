"""Plots for reports and papers, drawn with matplotlib objects, without pyplot or global settings.

Black becomes the colour of the page's text, see `svg`; the colours of classes and methods are visible on light and dark
pages. Legends are returned as data, so that the page can set them as text that wraps.
"""
