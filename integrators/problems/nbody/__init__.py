"""Families of bodies that attract each other."""
