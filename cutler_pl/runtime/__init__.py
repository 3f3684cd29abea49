"""What every layer may use: logging, ranks, seeds, optional packages. Nothing here knows of images or models."""
