"""Readers of foreign annotation formats, one file each, with recognition."""
