"""Learners of samplers of a few steps: `learn`, and a file for each kind."""

from .learn import KINDS, learn

__all__ = ["KINDS", "learn"]
