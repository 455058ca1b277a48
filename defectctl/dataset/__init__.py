"""The on-disk dataset: its types, reading and writing, splits, statistics."""
