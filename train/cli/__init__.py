"""The command line."""

from .arguments import app
from .program import main

__all__ = ["app", "main"]
