"""defectctl finds, outlines and grades surface defects in photographs of industrial parts."""

from defectctl.version import __version__

__all__ = ["__version__"]
