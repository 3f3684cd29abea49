"""The parts of the Lanczos solver: reduction to tridiagonal form, and eigenpairs of that form."""
