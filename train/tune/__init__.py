"""Searches: a law's coefficients for a family (`search`), a training run's settings (`sweep`)."""

from .objective import Objective, costs_of, log_work
from .search import Tuned, check_laws, check_search, published, tune, tune_splits

__all__ = [
    "Objective", "Tuned", "check_laws", "check_search", "costs_of", "log_work", "published", "tune", "tune_splits",
]  # fmt: skip
