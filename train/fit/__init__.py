"""A person's own problem: a family made of it (`family`), and the fastest solver for it (`fit`)."""

from .own import family
from .search import fit
from .settings_file import settings

__all__ = ["family", "fit", "settings"]
