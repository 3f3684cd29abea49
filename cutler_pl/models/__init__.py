"""The detectors: networks, matching, losses, weights."""
