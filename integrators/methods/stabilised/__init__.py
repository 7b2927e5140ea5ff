"""Stabilised explicit methods, one a file."""
