"""The one place where the version number stands; the wheel, the contract and `--version` read it here."""

__version__ = "0.1.0"
