"""The recorded cuts."""

from recorded_cuts import recorded

__all__ = ["recorded"]
