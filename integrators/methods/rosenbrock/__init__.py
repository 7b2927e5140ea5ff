"""Linearly implicit Rosenbrock methods."""
