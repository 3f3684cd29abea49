"""Choose τ on a folder of images, by the criteria of the quality report or by AP, and calibrate scores."""
