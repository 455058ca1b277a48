"""The networks: a registry that imports nothing heavy, one file an architecture, and what every network returns."""
