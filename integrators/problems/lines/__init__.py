"""Families from the method of lines, of any number of points."""
