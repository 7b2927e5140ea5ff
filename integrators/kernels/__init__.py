"""Source of the compiled loops, piece by piece."""
