"""Composed scenes: objects of real and generated surfaces on backgrounds of the same, with light and clutter."""
