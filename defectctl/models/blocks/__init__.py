"""The modules that the papers describe, each in its own file."""
