"""Families for implicit methods."""
