"""Metrics as functions of one table with a row per image: numpy only, never a network."""
