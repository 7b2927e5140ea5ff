"""Families for explicit methods."""
