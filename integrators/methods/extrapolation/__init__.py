"""Extrapolation methods of variable order."""
