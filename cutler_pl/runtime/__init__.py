"""Files, locks, ranks, logging, seeds, optional packages; nothing here depends on images or models."""
