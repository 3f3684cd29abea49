"""Pseudo-masks of a dataset: MaskCut over many images, resumable shards and their merge."""
