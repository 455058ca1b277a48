"""Readers of foreign annotation formats, one file each, and the way from a raw folder to the unified dataset."""
