"""Measured figures as data, and the pages that show them."""
