"""A person's own problem: a family made of it (`family`), and the fastest solver for it (`fit`)."""

from .family import family

__all__ = ["family"]
