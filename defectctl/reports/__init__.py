"""Draws what it is handed: overlays, plots, contact sheets; never reads a dataset or a model."""
