"""Pieces of methods for bodies that attract each other."""
