"""Presets: what may stand in one, how it is read, overridden and checked."""
