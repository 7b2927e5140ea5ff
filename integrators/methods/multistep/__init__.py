"""Multistep methods of variable order and step size."""
