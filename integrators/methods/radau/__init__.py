"""Radau IIA."""
