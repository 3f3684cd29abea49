"""A page in the browser to try MaskCut and a detector: `cutler demo`."""
