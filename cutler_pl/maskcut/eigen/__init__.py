"""Eigensolvers: the second generalised eigenvector of many small dense graphs at once."""
