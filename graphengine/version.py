"""The version of this package, known to every layer: what is written says with what it was written."""

__version__ = "0.2.0"
