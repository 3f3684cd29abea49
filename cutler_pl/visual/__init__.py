"""Figures: instances on images, eigenvectors as heat maps, contact sheets, training curves."""
